"""Times of contenders that take turns, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

FEWEST, MOST = 3, 200  # rounds


@dataclass
class Timing:
    """The best round of one contender.

    Args:
        ms: least processor time of a call, in milliseconds; what others do on the machine hardly enters it.
        wall_ms: least time on the clock.
        rounds: calls that were timed.
        result: what the first call returned.
    """

    result: Any
    ms: float = float("inf")
    wall_ms: float = float("inf")
    rounds: int = 0
    spent: float = field(default=0.0, repr=False)

    def shared(self, parts: int) -> Timing:
        """Return the times of one of so many equal parts of a call."""
        return replace(self, ms=self.ms / parts, wall_ms=self.wall_ms / parts)


def race(contenders: Mapping[str, Callable[[], Any]], budget: float) -> dict[str, Timing]:
    """Times every contender, one call each in turn.

    Args:
        contenders: name to a call without arguments.
        budget: seconds of processor time for each contender; three rounds are made in any case.
    """
    timings = {name: Timing(call()) for name, call in contenders.items()}  # imports and compiles
    with no_collections():
        for number in range(MOST):
            late = [name for name, timing in timings.items() if number >= FEWEST and timing.spent > budget]
            if len(late) == len(timings):
                break
            for name in (name for name in contenders if name not in late):
                clock(contenders[name], timings[name])
    return timings


def clock(call: Callable[[], Any], timing: Timing) -> None:
    wall, own = time.perf_counter(), time.process_time()
    call()
    own, wall = time.process_time() - own, time.perf_counter() - wall
    timing.ms, timing.wall_ms = min(timing.ms, 1000 * own), min(timing.wall_ms, 1000 * wall)
    timing.rounds, timing.spent = timing.rounds + 1, timing.spent + own


@contextmanager
def no_collections() -> Iterator[None]:
    """Garbage is collected before, not while a contender runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
