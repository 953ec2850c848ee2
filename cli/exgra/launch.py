"""Several processes of one command on this machine: the first speaks, a failure of any is reported once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from exgra.screen import without_controls

PATIENCE = 30.0  # seconds that the others get to end by themselves after one has failed


def launch(arguments: Sequence[str], count: int) -> int:
    """Run `exgra ARGUMENTS` as `count` processes that find each other; the exit code of all.

    The first one has the terminal. The others' output is kept, and shown only for the one that failed first. Ctrl-C
    reaches all of them, and each ends as it would alone.
    """
    with tempfile.TemporaryFile("w+") as said, _forwarded() as children:
        for environment in environments(count):
            quiet: dict[str, Any] = {} if environment["RANK"] == "0" else {"stdout": subprocess.DEVNULL, "stderr": said}
            command = [sys.executable, "-m", "exgra", *arguments]
            children.append(subprocess.Popen(command, env=environment, **quiet))
        failed = wait(children)
        if failed is not None and failed is not children[0]:
            tell(said)
        return children[0].returncode or (failed.returncode if failed else 0)


def environments(count: int) -> list[dict[str, str]]:
    """The variables by which torch.distributed knows each process, as torchrun sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    return [{**threads, **os.environ, **common, "RANK": str(n), "LOCAL_RANK": str(n)} for n in range(count)]


def wait(children: Sequence[subprocess.Popen[Any]]) -> subprocess.Popen[Any] | None:
    """Until all have ended; the one that failed first, if any. The rest is stopped after some patience."""
    failed, until = None, float("inf")
    while any(child.poll() is None for child in children):
        if failed is None and (failed := next((c for c in children if c.returncode), None)):
            until = time.monotonic() + PATIENCE
        if time.monotonic() > until:
            stop(children)
        time.sleep(0.05)
    return failed or next((child for child in children if child.returncode), None)


def stop(children: Sequence[subprocess.Popen[Any]]) -> None:
    """End what waits for a process that is no more."""
    for child in children:
        if child.poll() is None:
            child.kill()


def tell(said: IO[str]) -> None:
    """The others' output, on stderr."""
    said.seek(0)
    sys.stderr.write(without_controls(said.read()))


@contextmanager
def _forwarded() -> Iterator[list[subprocess.Popen[Any]]]:
    """A list of children, none of which outlives this.

    SIGTERM and SIGHUP are passed on to them; Ctrl-C reaches them from the terminal.
    """
    children: list[subprocess.Popen[Any]] = []

    def forward(number: int, frame: Any) -> None:
        for child in children:
            child.send_signal(number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, forward)}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, forward)
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which children would inherit
    try:
        yield children
    finally:
        stop(children)
        for number, handler in before.items():
            signal.signal(number, handler)
