"""Frank-Wolfe from one point to a local optimum of a quadratic problem over matchings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from .assignment import Array
from .lap import best_columns
from .matched_edges import MatchedEdges
from .quadratic import Quadratic


class Top(NamedTuple):
    """Where a climb ended: the best matching met, its value, and what the last step still promised, relatively."""

    columns: Array
    value: float
    gap: float


@dataclass(frozen=True, eq=False)
class Climb:
    r"""A relaxed matching $X$ of a problem $\max \langle L, X\rangle + q(X)$, and how to go up from there.

    $q$ is quadratic, so its gradient is linear in $X$: on the way from $X$ to a matching $D$ it is
    $(1 - t) \nabla q(X) + t \nabla q(D)$, and only the gradient at $D$ is ever computed, from few terms
    (`MatchedEdges`). With $2 q(X) = \langle \nabla q(X), X\rangle$ the objective on that way is a parabola of which
    three sums over matched pairs tell all. Everything is float64, so that the sums may run on.

    Args:
        linear: $L$, `(n, m)`.
        edges: $q$ at matchings.
        x: $X$, `(n, m)`.
        slope: $\nabla q(X)$, `(n, m)`.
        partial: Whether pairs that gain nothing are left out.
    """

    linear: Array
    edges: MatchedEdges
    x: Array
    slope: Array
    partial: bool

    @classmethod
    def of(cls, quadratic: Quadratic, x: Array, partial: bool) -> Climb:
        """Begins at `x`, `(n, m)`; the node scores are $L$."""
        slope = quadratic.gradient(torch.from_numpy(x).to(quadratic.edge.dtype)).double().numpy()
        return cls(quadratic.node.double().numpy(), MatchedEdges.of(quadratic), x, slope, partial)

    def towards(self, columns: Array, share: float) -> Climb:
        """Returns a beginning that lies between this one and a matching."""
        x, slope = (1 - share) * self.x, (1 - share) * self.slope + share * self.edges.gradient(columns)
        rows = np.flatnonzero(columns >= 0)
        x[rows, columns[rows]] += share
        return replace(self, x=x, slope=slope)

    def run(self, max_iter: int, tol: float) -> Top:
        """Goes up, at most `max_iter` steps, until a step promises less than `tol` of the objective's size."""
        x, slope = self.x.copy(), self.slope.copy()
        worth, bent = float(np.vdot(self.linear, x)), float(np.vdot(slope, x)) / 2
        best, value, gap = np.empty(0, np.int64), -np.inf, np.inf
        for _ in range(max_iter):
            columns = gaining_columns(self.linear + slope, self.partial)
            rows = np.flatnonzero(columns >= 0)
            cells = rows, columns[rows]
            at_vertex = self.edges.gradient(columns)
            worth_there, bent_there = float(self.linear[cells].sum()), float(at_vertex[cells].sum()) / 2
            if worth_there + bent_there > value:
                best, value = columns, worth_there + bent_there
            between = float(slope[cells].sum())
            promise = worth_there + between - worth - 2 * bent
            curvature = bent_there - between + bent
            gap = promise / max(abs(worth + bent), 1e-12)
            if gap <= tol:
                break
            t = min(1.0, -promise / (2 * curvature)) if curvature < 0 else 1.0
            x *= 1 - t
            x[cells] += t
            slope += t * (at_vertex - slope)
            bent += t * (between - 2 * bent) + t * t * curvature
            worth += t * (worth_there - worth)
        rounded = gaining_columns(x - 0.5 if self.partial else x, self.partial)
        reached = self._value(rounded)
        return Top(rounded, reached, gap) if reached > value else Top(best, value, gap)

    def _value(self, columns: Array) -> float:
        rows = np.flatnonzero(columns >= 0)
        cells = rows, columns[rows]
        return float(self.linear[cells].sum() + self.edges.gradient(columns)[cells].sum() / 2)


def gaining_columns(gains: Array, partial: bool) -> Array:
    """The column of each row in the matching of highest gain, -1 for none; if partial, only pairs that gain count."""
    columns = best_columns(np.maximum(gains, 0.0) if partial else np.ascontiguousarray(gains))
    if partial:
        columns[gains[np.arange(len(columns)), np.maximum(columns, 0)] <= 0] = -1
    return columns
