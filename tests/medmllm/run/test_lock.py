"""One process at a time works in a folder, and a dead one's lock is taken over."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from medmllm.errors import RunError
from medmllm.run import lock
from medmllm.run.lock import locked

HOLD = """
import os, sys, time
from pathlib import Path
from medmllm.run.lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["alone", "fork"])
def holder(request, tmp_path):
    """A process that holds the lock of `tmp_path`; one of the two has a child of its own, as readers of data are."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, request.param], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_living_process_is_named(holder, tmp_path):
    with pytest.raises(RunError, match=f"process {holder.pid} on ") as caught, locked(tmp_path):
        pass
    assert caught.value.where == str(tmp_path)


def test_a_killed_process_is_succeeded_at_once(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_nothing_is_left_behind(tmp_path):
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []


def test_one_process_is_refused_twice(tmp_path):
    with locked(tmp_path), pytest.raises(RunError, match="another process works"), locked(tmp_path):
        pass


def sign(folder, age, **who):
    """A lock file as another machine's process left it `age` seconds ago."""
    path = folder / ".lock"
    path.write_text(json.dumps({"process": 12, "host": "far", "machine": "far", "since": "noon", **who}))
    os.utime(path, (time.time() - age,) * 2)


def test_another_machine_that_gives_signs_of_life_is_respected(tmp_path):
    sign(tmp_path, age=5)
    with pytest.raises(RunError, match="process 12 on far, since noon"), locked(tmp_path):
        pass


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"process": 1}'], ids=str)
def test_what_is_stale_or_unsigned_is_taken_over(tmp_path, content):
    sign(tmp_path, age=1000)
    if content is not None:
        (tmp_path / ".lock").write_text(content)
    with locked(tmp_path):
        pass


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        until = time.monotonic() + 60
        while (tmp_path / ".lock").stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > 0


def test_without_locks_of_the_system_signs_of_life_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_claim", lambda file: None)
    sign(tmp_path, age=5, machine=lock._machine())
    with pytest.raises(RunError, match="process 12"), locked(tmp_path):
        pass
    sign(tmp_path, age=100, machine=lock._machine())
    with locked(tmp_path):
        pass


def test_a_child_that_is_slow_to_let_go_of_a_killed_process_is_waited_for(tmp_path):
    """A child forked a moment before its parent was killed has the lock until it runs for the first time."""
    asleep = "import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep(1))\n"
    process = subprocess.Popen(
        [sys.executable, "-c", asleep + HOLD, tmp_path, "fork"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    process.communicate()
