"""Memory, before it is used: what a step would need, and what there is."""

from __future__ import annotations

import os

from graphalign.errors import DataError

SHARE = 0.8  # of the free memory that a command may plan with: the rest is for the system and for unplanned use
# Tables of scores that live at once: scores, matching, and what the solver works with. Measured for lap.
COPIES, COPIES_OF_LAP = 6.0, 2.1
COMPILED = 130e6  # bytes of the compiled engine, with what it loads
BLOCKS = 100e6  # bytes of the blocks in which scores are examined
NODE, CANDIDATE = 390, 80  # bytes of a node, and of a candidate of a row, in the solver sparse and what is written


def check_room(needed: float, what: str, hint: str | None = None) -> None:
    """Refuse a step that needs more bytes of memory than may be planned with.

    Args:
        needed: bytes.
        what: the step, as in "reading a.npy".
        hint: what to do instead; None to match fewer samples.

    Raises:
        DataError: It needs more than 80 % of what is free.
    """
    free = free_memory()
    if needed > SHARE * free:
        say = (
            f"{what} needs about {needed / 2**30:.1f} GB of memory; {free / 2**30:.1f} GB are free, and {SHARE:.0%} of "
            f"that may be planned with, as the system needs some too"
        )
        raise DataError(say, hint=hint or "match fewer samples at a time, e.g. a part of the rows")


def dense_bytes(n: int, m: int, itemsize: int, *, graphs: bool, lap: bool) -> float:
    """Return what a solver needs that reads the table of n x m scores.

    Args:
        n: Rows.
        m: Columns.
        itemsize: Bytes of a score.
        graphs: Whether it reads the graphs of both files.
        lap: Whether it is the solver lap, which keeps fewer copies.
    """
    tables = (COPIES_OF_LAP if lap else COPIES) * n * m
    return COMPILED + float(itemsize) * (tables + (3 * (n * n + m * m) if graphs else 0))


def sparse_bytes(n: int, m: int, width: int, k: int, itemsize: int) -> float:
    """Return what the solver sparse needs: features, lists of candidates, and blocks of scores."""
    return COMPILED + BLOCKS + (n + m) * (2.0 * width * itemsize + NODE) + CANDIDATE * k * min(n, m)


def free_memory() -> float:
    """Return the bytes that a program may take without swapping; where the system does not tell, half of all."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 if hasattr(os, "sysconf") else 4 * 2**30
