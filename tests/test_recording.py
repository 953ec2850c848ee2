"""The recording of the terminal is a drawing that moves by itself, at the pace of what was recorded."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recorder():
    spec = importlib.util.spec_from_file_location("make_recording", DOCS / "make_recording.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_command_says_is_recorded_as_the_terminal_breaks_it(recorder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "said", lambda command, folder: iter([(0.2, "a" * 100), (60.0, "b")]))
    lines = recorder.record(("exgra x",), tmp_path)
    assert [line for _, line in lines] == ["$ exgra x", "a" * 80, "a" * 20, "b"]
    moments = [moment for moment, _ in lines]
    assert moments == sorted(moments)
    assert moments[-1] - moments[-2] == recorder.LONGEST_WAIT


def test_there_is_time_to_read_what_a_command_said(recorder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "said", lambda command, folder: iter([(0.0, "line")] * 40))
    lines = recorder.record(("exgra x", "exgra y"), tmp_path)
    moments = {line: moment for moment, line in reversed(lines)}
    assert moments[""] - moments["line"] == pytest.approx(40 * recorder.READING)


def test_a_command_speaks_to_a_terminal_of_eighty_columns_that_cannot_redraw(recorder, tmp_path):
    script = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, os.environ['TERM'])"
    (tmp_path / "speaker.py").write_text(script)
    assert [line for _, line in recorder.said("speaker", tmp_path)] == ["True 80 dumb"]


def test_every_line_comes_in_its_order_and_the_last_screen_stays(recorder):
    drawing = ET.fromstring(recorder.drawn([(float(i), f"line {i} < >") for i in range(40)]))
    lines = list(drawing.iter(f"{SVG}text"))
    assert len(lines) == 40
    shown = [float(text.find(f"{SVG}animate").get("keyTimes").split(";")[1]) for text in lines]
    assert shown == sorted(shown)
    scroll = drawing.find(f".//{SVG}animateTransform")
    assert scroll.get("values").split(";")[-1] == "0 " + f"{-recorder.HIGH * (40 - recorder.ROWS):g}"


def test_the_committed_recording_asks_for_nothing_and_shows_commands_that_exist(recorder):
    text = (DOCS / "images" / "recording.svg").read_text("utf-8")
    assert set(re.findall(r'https?://[^"]+', text)) == {"http://www.w3.org/2000/svg"}
    shown = ["".join(line.itertext()) for line in ET.fromstring(text).iter(f"{SVG}text")]
    assert tuple(line[2:] for line in shown if line.startswith("$ ")) == recorder.COMMANDS
    assert max(map(len, shown)) <= recorder.COLUMNS
    (length,) = {float(seconds) for seconds in re.findall(r'dur="([\d.]+)s"', text)}
    assert 100 < length < 150
