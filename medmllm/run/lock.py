"""One process at a time works in a folder: a lock that lives as long as its process.

On one machine the operating system holds the lock (`flock`), and drops it with the process, however that ends. Not
every shared file system passes such locks on to other machines, so the file also says who holds it and is touched every
few seconds: a lock of another machine counts until it has not been touched for a minute.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from medmllm.errors import RunError

NAME = ".lock"
TOUCH = 10.0  # seconds between signs of life
STALE = 60.0  # seconds without one, after which a lock of another machine is taken over
LET_GO = 5.0  # seconds for children of a process that was killed to close the lock
_HELD: weakref.WeakSet[_Lock] = weakref.WeakSet()  # what a forked child must let go of


class _Lock:
    """An open lock file that this process holds."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.file, self._over = path, file, threading.Event()
        _HELD.add(self)

    def sign(self) -> None:
        """Say who holds it, and keep saying that the holder lives."""
        self.path.write_text(json.dumps(_this_process()), encoding="utf-8")
        threading.Thread(target=self._touch, daemon=True).start()

    def release(self) -> None:
        self._over.set()
        with suppress(OSError):
            self.path.unlink()
        os.close(self.file)

    def _touch(self) -> None:
        while not self._over.wait(TOUCH):
            with suppress(OSError):
                os.utime(self.path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside, so that no other process of this package works there meanwhile.

    Raises:
        RunError: another living process holds it; the message says which.
    """
    _watch_forks()
    lock = _open(folder / NAME)
    try:
        lock.sign()
        yield
    finally:
        lock.release()


def _open(path: Path) -> _Lock:
    """The lock file, locked. Its holder removes it at the end: what was opened must still be what has the name."""
    patience = time.monotonic() + LET_GO
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _taken(path, file):
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file), path.stat()):
                        return _Lock(path, file)
            elif time.monotonic() > patience or not _has_ended(_holder(path)):
                raise _refusal(path)
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        time.sleep(0.01)


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether a process of this machine is no more; its children may not have closed the lock yet."""
    return bool(holder) and holder["machine"] == _machine() and not _runs(holder["process"])


def _taken(path: Path, file: int) -> bool:
    """Lock the open file; whether another living process has it."""
    free = _claim(file)
    if free is False:
        return True
    holder = _holder(path)
    dead = not holder or (free and holder["machine"] == _machine())
    return not dead and _since_touched(path) < STALE


def _claim(file: int) -> bool | None:
    """Whether the operating system gives the lock; None where it has no locks for this file system."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _since_touched(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system."""
    probe = path.with_name(f"{NAME}.{os.getpid()}")
    probe.write_bytes(b"")
    now = probe.stat().st_mtime
    probe.unlink()
    return now - path.stat().st_mtime


def _refusal(path: Path) -> RunError:
    holder = _signed(path)
    who = "process {process} on {host}, since {since}".format(**holder) if holder else "another process"
    return RunError(
        f"another process works in this folder: {who}",
        where=str(path.parent),
        hint="wait for it or stop it; the lock of a process that was killed is taken over",
    )


def _signed(path: Path) -> dict[str, Any]:
    """Who holds the lock; a new holder is given a second to sign in the place of one that has died."""
    until = time.monotonic() + 1
    while True:
        holder = _holder(path)
        known = holder and (holder["machine"] != _machine() or _runs(holder["process"]))
        if known or time.monotonic() > until:
            return holder
        time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, TypeError, OverflowError):
        pass
    return True


def _holder(path: Path) -> dict[str, Any]:
    """Who signed the file; nothing where nobody has, or not to the end."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict) and found.keys() >= {"process", "host", "since", "machine"}:
            return found
    return {}


def _this_process() -> dict[str, Any]:
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    return {"process": os.getpid(), "host": socket.gethostname(), "machine": _machine(), "since": now}


def _machine() -> str:
    """An id shared by all processes of a kernel, whatever they call their host."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return socket.gethostname()


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    """A forked child, such as a reader of data, must not keep the lock when its parent has been killed."""
    for lock in list(_HELD):
        with suppress(OSError):
            os.close(lock.file)
    _HELD.clear()
