"""One measured figure, and the parts that make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphalign.bench.timing import Timing


@dataclass(frozen=True)
class Row:
    """One contender at one case.

    Args:
        part: table that it belongs to.
        case: what was solved, e.g. `64x16 random`.
        contender: who solved it.
        timing: how long it took; None where it was not timed.
        figures: whatever else was measured.
        absent: why there are no figures, if there are none.
    """

    part: str
    case: str
    contender: str
    timing: Timing | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    absent: str = ""

    def to_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = {"part": self.part, "case": self.case, "contender": self.contender}
        if self.timing is not None:
            row |= {key: round(getattr(self.timing, key), 5) for key in ("ms", "wall_ms")}
            row["rounds"] = self.timing.rounds
        row |= {key: rounded(value) for key, value in self.figures.items()}
        return row | ({"absent": self.absent} if self.absent else {})


@dataclass(frozen=True)
class Plan:
    """How a part is measured.

    Args:
        quick: the smallest cases only, in seconds.
        seed: of every problem.
        say: told what is being measured.
    """

    quick: bool
    seed: int
    say: Callable[[str], None]

    @property
    def budget(self) -> float:
        """Seconds of processor time for each contender of a case."""
        return 0.02 if self.quick else 2.0


def rounded(value: Any) -> Any:
    """A figure to six digits, as more are chance."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def absent(part: str, case: str, missing: Mapping[str, str]) -> list[Row]:
    """Rows for contenders that cannot take part, with the reason."""
    return [Row(part, case, name, absent=why) for name, why in missing.items()]
