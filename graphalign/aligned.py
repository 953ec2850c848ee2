"""The result of `align`: pairs, the map between two tables, and whether to believe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .adjacency import as_tensor
from .counts import count_of

# An alignment is trusted from these figures on; `reproduced` from a constant and a share of that of the known pairs.
# They told 108 of 114 draws in which at least 80 % of the pairs were right from 304 of 305 in which at most 55 % were:
# texts, digits, cells and synthetic tables of 200 to 800 rows, 8 to 50 known pairs, with and without missing partners.
# `held_out` estimates the share of right pairs: one third would trust tables of few features that are mostly wrong.
FOUND_AGAIN, LEAST_FOUND, REPRODUCED = 1 / 2, 3, (0.36, 0.35)


class Round(NamedTuple):
    """One round of `align`.

    Args:
        kept: Pairs that were fitted beside the known ones.
        confidence: The mean cosine of all pairs that were matched.
        changed: The share of rows that have another partner than in the round before; 1 in the first round.
    """

    kept: int
    confidence: float
    changed: float


@dataclass(frozen=True, eq=False)
class Aligned:
    r"""What `align` found.

    Args:
        rows: Long `(p,)`, ascending: rows of the first table, known pairs included.
        cols: Long `(p,)`: the row of the second table that each belongs to.
        known: Bool `(p,)`: whether the pair was given.
        confidence: Float `(p,)`: the cosine of the mapped row and its partner, in $[-1, 1]$.
        held_out: Share of the known pairs that were found again while they were hidden, in four folds; None where
            fewer than two pairs are known.
        reproduced: Mean reciprocal rank, in $(0, 1]$, of the partner among all rows of the second table, over the
            other pairs, each under a map that was fitted without it, in four folds; None where there are no others.
            It falls where partners are missing, though known pairs have theirs.
        reproduced_known: The same of the known pairs, with which to compare it.
        trusted: Whether `held_out` is at least one half and three pairs, and `reproduced`, where there is one, at
            least $0.36 + 0.35\,r$ with $r$ of the known pairs. Where it is False do not use the pairs: partners are
            missing, the contents differ, the features are weak, or too few pairs are known.
        doubts: One sentence for each check that failed; empty where `trusted`.
        curve: What each round did.
        mean1: `(d,)`: the mean of the first table.
        mean2: `(k,)`: the mean of the second table.
        weight: `(d, k)`: the map between the centred unit rows.

    Example:
        >>> import torch
        >>> import graphalign as ga
        >>> x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
        >>> found = ga.align(x, -x, [(i, i) for i in range(12)])
        >>> found
        Aligned(40 pairs, 12 known, held_out=1.0, reproduced=1.000, reproduced_known=1.000, trusted=True)
        >>> tuple(found.transform(x[:3]).shape), tuple(found.scores(x[:3], -x).shape)
        ((3, 6), (3, 40))
        >>> found.scores(x[:3], -x).argmax(1)
        tensor([0, 1, 2])
    """

    rows: Tensor
    cols: Tensor
    known: Tensor
    confidence: Tensor
    held_out: float | None
    reproduced: float | None
    reproduced_known: float
    trusted: bool
    doubts: tuple[str, ...]
    curve: tuple[Round, ...]
    mean1: Tensor
    mean2: Tensor
    weight: Tensor

    def __repr__(self) -> str:
        again = None if self.held_out is None else round(self.held_out, 3)
        others = None if self.reproduced is None else f"{self.reproduced:.3f}"
        figures = f"{count_of(len(self.rows), 'pair')}, {int(self.known.sum())} known, held_out={again}"
        reproduced = f"reproduced={others}, reproduced_known={self.reproduced_known:.3f}"
        return f"Aligned({figures}, {reproduced}, trusted={self.trusted}{''.join(f'; {line}' for line in self.doubts)})"

    def transform(self, x: Any) -> Tensor:
        """Map rows of the first space, `(n, d)`, to where the second table's rows are, less its mean, `(n, k)`.

        Compare the result by cosine: `scores` does so.
        """
        return unit_rows(self._less_mean(x, "x", self.mean1)) @ self.weight

    def scores(self, x: Any, y: Any) -> Tensor:
        """Return the cosine of every mapped row of `x` with every row of `y`, `(n, m)`."""
        return unit_rows(self.transform(x)) @ unit_rows(self._less_mean(y, "y", self.mean2)).T

    def _less_mean(self, values: Any, name: str, mean: Tensor) -> Tensor:
        table = finite_table(values, name).to(self.weight)
        if table.shape[1] != len(mean):
            raise ValueError(f"align: {name} must have rows of {len(mean)} numbers, as before; got {table.shape[1]}")
        return table - mean


def doubts_about(
    held_out: float | None, known: int, reproduced: float | None, reproduced_known: float
) -> tuple[str, ...]:
    """Return one sentence for each check that failed.

    Hidden known pairs must be found again, and the pairs found must fit each other nearly as well as the known ones do.
    """
    doubts = []
    if held_out is None:
        doubts.append("only one pair is known, so none can be hidden and found again")
    elif held_out < FOUND_AGAIN:
        doubts.append(f"{held_out:.1%} of the hidden known pairs were found again, and {FOUND_AGAIN:.1%} are needed")
    elif round(held_out * known) < LEAST_FOUND:
        doubts.append(f"{round(held_out * known)} hidden known pairs were found again, and {LEAST_FOUND} are needed")
    least = REPRODUCED[0] + REPRODUCED[1] * reproduced_known
    if reproduced is not None and reproduced < least:
        doubts.append(f"the pairs found reproduce each other to {reproduced:.1%}, and {least:.1%} are needed")
    return tuple(doubts)


def finite_table(values: Any, name: str, least: int = 1) -> Tensor:
    """Return a finite matrix of `least` rows or more on the CPU, in float32 at least."""
    table = as_tensor(values, f"align: {name}").detach().cpu()
    table = table.to(torch.promote_types(table.dtype, torch.float32))
    if table.ndim != 2 or len(table) < least or not table.shape[1]:
        wanted = "two rows at least" if least == 2 else "a row at least"
        raise ValueError(f"align: {name} must be a matrix (rows, width) of {wanted}; got {tuple(table.shape)}")
    bad = (~table.isfinite()).any(1).nonzero().flatten()
    if len(bad):
        rows = count_of(len(bad), "row")
        raise ValueError(f"align: {name} has {rows} with numbers that are not finite; the first is row {int(bad[0])}")
    return table


def unit_rows(x: Tensor) -> Tensor:
    """Return rows of unit length; rows of zeros stay."""
    return torch.nn.functional.normalize(x, dim=-1)
