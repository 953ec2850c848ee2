"""Nothing that data or a server says can steer a terminal, and a terminal that is lost stops nothing."""

import ast
import errno
import json
import os
import pty
import sys
from pathlib import Path

import pytest

import exgra
from exgra import screen
from exgra.main import report_failure
from exgra.progress import Bar, listener
from medmllm.errors import RunError

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\r\u202egpj.exe\u2066\x7f\x00"
TRACES = set(EVIL) - set("]0;title[2J31mgpj.exe")


def clean(text):
    return not TRACES & set(text)


def test_every_way_to_the_screen_is_plain(capsys):
    screen.put(f"a{EVIL}b\tc")
    screen.say(EVIL)
    screen.warn(EVIL)
    screen.put_table(["name", "what"], [(EVIL, EVIL)])
    report_failure(RunError(EVIL, where=EVIL, hint=EVIL), debug=False)
    out, err = capsys.readouterr()
    assert clean(out.replace("\n", ""))
    assert clean(err.replace("\n", ""))
    assert "a\\x1b]0;title\\x07" in out
    assert "b\tc" in out


SEQUENCES = {
    "colour": "\x1b[31m",
    "title": "\x1b]0;x\x07",
    "link": "\x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;eA==\x07",
    "question": "\x1b[6n",
    "screen": "\x1bc",
    "one byte": "\x9b2J",
    "device control": "\x90q\x9c",
    "backspace": "ok\x08\x08no",
    "bell": "\x07",
    "return": "ok\rno",
    "form feed": "\x0c",
    "delete": "\x7f",
    "nothing": "\x00",
    "reversed": "\u202egpj.exe",
    "isolate": "\u2067x\u2069",
    "mark": "\u200f\u200e\u061c",
    "no room": "a\u200b\u2060\ufeffb",
    "line": "a\u2028b\u2029c\x85d",
    "tags": "\U000e0041\U000e007f",
    "half": "\ud83d",
    "shift": "\x0e\x0f",
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_no_sequence_reaches_the_screen(capsys, name):
    screen.put(SEQUENCES[name])
    screen.say(SEQUENCES[name])
    screen.put_json({"text": SEQUENCES[name]})
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    assert json.loads(out[out.index("{") :]) == {"text": SEQUENCES[name]}


def test_json_is_plain_and_still_the_same_value(capsys):
    screen.put_json({"text": EVIL, "other": "äöü 影像"})
    out = capsys.readouterr().out
    assert clean(out)
    assert json.loads(out) == {"text": EVIL, "other": "äöü 影像"}
    assert "影像" in out


def test_the_bar_is_plain(monkeypatch, capsys):
    monkeypatch.setattr(screen, "lively", lambda: True)
    monkeypatch.setattr("exgra.progress.lively", lambda: True)
    with listener() as ear:
        assert isinstance(ear, Bar)
        ear.message(f"{EVIL}end")
    said = capsys.readouterr().err
    assert "\\x1b]0;title" in said
    assert "\x9b" not in said
    assert "\x1b]" not in said


def test_commands_print_by_the_screen_alone():
    """A bare `print` of a text that came from outside would pass it on as it is."""
    root = Path(exgra.__file__).parent
    allowed = {"screen.py", "app.py"}
    for path in set(root.rglob("*.py")) - set((root / "bench").rglob("*")):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo"):
                assert ast.unparse(node).startswith("print('> '"), f"{path.name}: {ast.unparse(node)}"


@pytest.fixture
def lost():
    """A terminal that is gone."""
    control, terminal = pty.openpty()
    stream = os.fdopen(terminal, "w")
    os.close(control)
    yield stream
    with pytest.raises(OSError, match="Input/output"):
        stream.close()


def test_talk_goes_on_without_a_terminal(lost, monkeypatch):
    monkeypatch.setattr(sys, "stderr", lost)
    monkeypatch.setattr(sys, "stdout", lost)
    with pytest.raises(OSError, match="Input/output") as caught:
        print("a", file=lost, flush=True)
    assert caught.value.errno == errno.EIO
    screen.say("hello")
    screen.warn("hello")
    with listener() as ear:
        ear.message("hello")
        ear.step(1, 2, {"loss": 1.0})
    with pytest.raises(BrokenPipeError):
        screen.put("result")
