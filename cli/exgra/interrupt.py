"""Ctrl-C as a question that work answers when it can: nothing is lost between two lines of a program."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody pressed Ctrl-C.

    Args:
        hint: What happens then, said at the first press; the second one ends the program at once.
    """

    def __init__(self, hint: str) -> None:
        self.hint, self.asked, self.waits = hint, False, True

    def __call__(self) -> bool:
        return self.asked

    def press(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal."""
        if self.asked or not self.waits:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, f"{self.hint}\n".encode())  # another print may be under way, and nothing fits into it

    def at_once(self) -> None:
        """From now on Ctrl-C ends the program at once, also one that was pressed before."""
        self.waits = False
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stopping(hint: str) -> Iterator[Stop]:
    """Take Ctrl-C as a wish to stop, which the work looks at; only the main thread can."""
    stop = Stop(hint)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.press)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
