"""The recording of the terminal is a drawing that moves by itself, at the pace of what was recorded."""

import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recorder():
    spec = importlib.util.spec_from_file_location("make_recording", DOCS / "make_recording.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_what_a_command_says_is_recorded_as_the_terminal_breaks_it(recorder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "said", lambda command, folder, serving: iter([(0.2, "a" * 100), (60.0, "b")]))
    lines = recorder.record(("exgra x",), tmp_path)
    assert [line for _, line in lines] == ["$ exgra x", "a" * 80, "a" * 20, "b"]
    moments = [moment for moment, _ in lines]
    assert moments == sorted(moments)
    assert moments[-1] - moments[-2] == recorder.LONGEST_WAIT


def test_there_is_time_to_read_what_a_command_said(recorder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorder, "said", lambda command, folder, serving: iter([(0.0, "line")] * 40))
    lines = recorder.record(("exgra x", "exgra y"), tmp_path)
    moments = {line: moment for moment, line in reversed(lines)}
    assert moments[""] - moments["line"] == pytest.approx(40 * recorder.READING)


def test_a_command_speaks_to_a_terminal_of_eighty_columns_that_cannot_redraw(recorder, tmp_path):
    script = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns, os.environ['TERM'])"
    (tmp_path / "speaker.py").write_text(script)
    assert [line for _, line in recorder.said("python speaker.py", tmp_path, [])] == ["True 80 dumb"]


SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]} is open; Ctrl-C", flush=True)
print("stops it", flush=True)
try:
    listener.accept()
    listener.accept()
except KeyboardInterrupt:
    print("closed", flush=True)
"""


def test_a_server_answers_in_the_background_until_ctrl_c(recorder, tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    serving = []
    lines = [line for _, line in recorder.said("python server.py &", tmp_path, serving)]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ is open; Ctrl-C", lines[0])
    assert lines[1:] == ["stops it"]
    assert serving[0].process.poll() is None
    assert [line for _, line in recorder.said("fg", tmp_path, serving)] == ["python server.py", "^Cclosed"]
    assert serving == []


def test_ctrl_c_is_seen_where_a_server_says_nothing(recorder, tmp_path):
    (tmp_path / "server.py").write_text(SERVER.replace('print("closed", flush=True)', "pass"))
    list(recorder.said("python server.py &", tmp_path, serving := []))
    assert [line for _, line in recorder.said("fg", tmp_path, serving)] == ["python server.py", "^C"]


def test_a_server_that_fails_is_not_drawn(recorder, tmp_path):
    with pytest.raises(RuntimeError, match="ended before its port answered"):
        list(recorder.said("python missing.py &", tmp_path, []))


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
    drawing = ET.fromstring(text)
    assert all(part.tag.startswith(SVG) and not any("href" in name for name in part.attrib) for part in drawing.iter())
    assert not any("//" in value for part in drawing.iter() for value in part.attrib.values())
    assert not re.search(r"url\(|@import", drawing.find(f"{SVG}style").text)
    shown = ["".join(line.itertext()) for line in drawing.iter(f"{SVG}text")]
    assert tuple(line[2:] for line in shown if line.startswith("$ ")) == recorder.COMMANDS
    assert max(map(len, shown)) <= recorder.COLUMNS
    (length,) = {float(seconds) for seconds in re.findall(r'dur="([\d.]+)s"', text)}
    assert 100 < length < 180
