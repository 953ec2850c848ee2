"""Ctrl-C, SIGTERM and a lost terminal as a request: the step under way is finished and saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


class Stop:
    """Becomes true when the run is asked to stop."""

    asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Turn Ctrl-C, SIGTERM or a lost terminal (SIGHUP) into a request that the loop honours between two steps.

    A second Ctrl-C or SIGTERM kills. A second SIGHUP does not: a closed terminal often sends two. Outside the main
    thread, and where they are ignored (a job in the background, `nohup`), signals are left as they are.
    """
    stop = Stop()
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        stop.asked = True
        if number != HANGUP:
            signal.signal(number, before[number])

    in_main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if in_main else ():
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)
