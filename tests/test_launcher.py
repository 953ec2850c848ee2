"""The launcher of a clone, without network: what it installs when, and what it says when it cannot."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path):
    """A folder with a space in its name and the files that the launcher needs."""
    folder = tmp_path / "my clone"
    folder.mkdir()
    for name in ("exgra", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def launcher(clone, monkeypatch):
    """The launcher of the clone as a module; `ran` keeps the commands, which only pretend to work."""
    loader = SourceFileLoader("launcher", str(clone / "exgra"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = module_from_spec(spec_from_loader("launcher", loader))
    loader.exec_module(module)
    module.ran = []

    def pretend(command):
        module.ran.append(command)
        if "venv" in command:
            (clone / ".venv" / "bin").mkdir(exist_ok=True)
            (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
        return 0, ("", clone / ".venv" / "install.log")

    monkeypatch.setattr(module, "run", pretend)
    return module


def test_it_reads_on_old_pythons():
    ast.parse((ROOT / "exgra").read_text("utf-8"), feature_version=(3, 6))


def test_an_old_python_is_told_what_was_found_and_what_would_do(launcher, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    monkeypatch.setattr(launcher, "runs", lambda python: python in ("python3.11", "python3.12"))
    with pytest.raises(SystemExit) as caught:
        launcher.main(["train"])
    assert "this is 3.9.18" in str(caught.value)
    assert "hint:  python3.12 " in str(caught.value)


def test_it_installs_once(launcher):
    launcher.install("train,viz")
    assert [command[2] for command in launcher.ran] == ["venv", "pip"]
    assert launcher.ran[1][-4:] == ["-c", "constraints.txt", "-e", ".[train,viz]"]
    launcher.install("train,viz")
    assert len(launcher.ran) == 2


def test_dev_serves_every_command(launcher):
    launcher.install("dev")
    launcher.install("train,viz")
    assert len(launcher.ran) == 2


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_it_installs_again_when_requirements_change(launcher, clone, name):
    launcher.install("dev")
    (clone / name).write_text((clone / name).read_text() + "\n# changed\n")
    launcher.install("dev")
    assert [command[2] for command in launcher.ran] == ["venv", "pip", "pip"]


def test_a_half_made_environment_is_made_anew(launcher, clone):
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".exgra-made").write_text("")
    (clone / ".venv" / "rubbish").write_text("")
    launcher.install("dev")
    assert [command[2] for command in launcher.ran] == ["venv", "pip"]
    assert not (clone / ".venv" / "rubbish").exists()


def test_a_users_own_environment_is_kept(launcher, clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    launcher.install("dev")
    assert [command[2] for command in launcher.ran] == ["pip"]


def test_a_failed_install_is_shown_and_tried_again(launcher, monkeypatch):
    works = launcher.run
    monkeypatch.setattr(launcher, "run", lambda c: works(c) if "venv" in c else (1, ("no such package", "install.log")))
    with pytest.raises(SystemExit, match="no such package"):
        launcher.install("dev")
    monkeypatch.setattr(launcher, "run", works)
    launcher.install("dev")
    assert [command[2] for command in launcher.ran] == ["venv", "pip"]


def test_without_venv_it_names_the_debian_package(launcher, clone, monkeypatch):
    monkeypatch.setattr(launcher, "run", lambda command: (1, ("ensurepip is not available", "install.log")))
    with pytest.raises(SystemExit) as caught:
        launcher.install("dev")
    assert "apt install python3-venv" in str(caught.value)
    assert not (clone / ".venv").exists()


def installed_clone(launcher, clone):
    """A clone whose `.venv` is this environment's Python, with a stand-in for the installed command."""
    launcher.install("dev")
    command = clone / ".venv" / "bin" / "exgra"
    command.write_text('#!/bin/sh\necho "$EXGRA_COMMAND" "$PWD" "$@"\nexit 7\n')
    command.chmod(0o755)
    return clone / "exgra"


def test_it_hands_over_words_folder_and_exit_code_also_through_a_link(launcher, clone, tmp_path):
    script = installed_clone(launcher, clone)
    link = tmp_path / "link"
    link.symlink_to(script)
    for path in (script, link):
        done = subprocess.run(
            [sys.executable, path, "train", "a b"], cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stdout) == (7, f"{path} / train a b\n")


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "")]
)
@pytest.mark.parametrize("word", ["train", "test"])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(launcher, clone, word, given, spins):
    script = installed_clone(launcher, clone)
    python = clone / ".venv" / "bin" / "python"
    python.unlink()
    for command in (python, clone / ".venv" / "bin" / "exgra"):
        command.write_text('#!/bin/sh\necho "$GOMP_SPINCOUNT"\n')
        command.chmod(0o755)
    others = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, script, word], capture_output=True, text=True, env=others | given)
    assert done.stdout == f"{spins}\n", done.stderr


def test_it_works_with_stdin_closed(launcher, clone):
    script = installed_clone(launcher, clone)
    done = subprocess.run(["sh", "-c", '"$0" "$1" doctor <&-', sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr


def test_a_folder_that_cannot_be_written_is_a_clear_message(clone):
    if os.geteuid() == 0:
        (clone / ".venv").write_text("a file in the way, since root may write everywhere")
    else:
        clone.chmod(0o555)
    done = subprocess.run([sys.executable, clone / "exgra", "train"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: the set-up failed" in done.stderr
    assert "Traceback" not in done.stderr
