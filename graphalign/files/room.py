"""Memory, before it is used: what a step would need, and what there is."""

from __future__ import annotations

import os

from graphalign.errors import DataError

SHARE = 0.8  # of the free memory that a command may plan with


def check_room(needed: float, what: str) -> None:
    """Refuses a step that needs more bytes of memory than are free.

    Args:
        needed: bytes.
        what: the step, as in "reading a.npy".

    Raises:
        DataError: It needs more.
    """
    free = free_memory()
    if needed > SHARE * free:
        say = f"{what} needs about {needed / 2**30:.1f} GB of memory, and {free / 2**30:.1f} GB are free"
        raise DataError(say, hint="match fewer samples at a time, e.g. a part of the rows")


def free_memory() -> float:
    """Bytes that a program may take without swapping; where the system does not tell, half of all."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 if hasattr(os, "sysconf") else 4 * 2**30
