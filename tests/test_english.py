"""The texts are plain English: none has a wording that `docs/check_english.py` names."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECK = ROOT / "docs" / "check_english.py"


def run(*arguments, folder=ROOT):
    return subprocess.run([sys.executable, CHECK, *arguments], cwd=folder, capture_output=True, text=True)


def test_no_text_has_a_wording_that_a_rule_names():
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the device is not to be had", "not to be had"),  # english: quoted
        ("a failure is told once", "is told"),  # english: quoted
        ("this is no matrix", "is no"),  # english: quoted
        ("# What is written", "What is"),  # english: quoted
        ("the sum stands in the table", "stands in"),  # english: quoted
        ("a run takes some four minutes", "some four minutes"),  # english: quoted
        ("the wrong pairs shall score less", "shall"),  # english: quoted
        ("Of three rows, two are empty.", "Of three rows,"),  # english: quoted
    ],
)
def test_a_finding_has_file_line_words_and_advice(tmp_path, text, words):
    (tmp_path / "page.md").write_text(f"First line.\n{text}\n")
    done = run("page.md", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"page.md:2: {words!r}: ")


def test_code_and_plain_sentences_are_left_alone(tmp_path):
    (tmp_path / "program.py").write_text("told = standsin = 1  # there is no such file; it is no longer here\n")
    assert run("program.py", folder=tmp_path).returncode == 0
