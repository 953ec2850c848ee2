"""Frank-Wolfe from one point to a local optimum of a quadratic problem over matchings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .assignment import Array
from .lap import best_columns
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
    (`Edges.gradient_at`). With $2 q(X) = \langle \nabla q(X), X\rangle$ the objective on that way is a parabola, which
    three sums over matched pairs give. Everything is float64, so that the sums may run on.

    Args:
        problem: $L$ and $q$, and whether pairs that gain nothing are left out.
        x: $X$, `(n, m)`.
        slope: $\nabla q(X)$, `(n, m)`.
    """

    problem: Quadratic
    x: Array
    slope: Array

    @classmethod
    def of(cls, problem: Quadratic, x: Array) -> Climb:
        """Begin at `x`, `(n, m)`."""
        return cls(problem, x, problem.edges.gradient(x))

    def towards(self, columns: Array, share: float) -> Climb:
        """Return a beginning that lies between this one and a matching."""
        slope = (1 - share) * self.slope + share * self.problem.edges.gradient_at(columns)
        x, rows = (1 - share) * self.x, np.flatnonzero(columns >= 0)
        x[rows, columns[rows]] += share
        return replace(self, x=x, slope=slope)

    def run(self, max_iter: int, tol: float) -> Top:
        """Go up, at most `max_iter` steps, until a step promises less than `tol` of what it could win.

        It goes with the arrays `x` and `slope` themselves: one that is to begin again elsewhere keeps a copy.
        """
        problem, linear, x, slope = self.problem, self.problem.linear, self.x, self.slope
        worth, bent = float(np.vdot(linear, x)), float(np.vdot(slope, x)) / 2
        best, value, gap = np.empty(0, np.int64), -np.inf, np.inf
        for _ in range(max_iter):
            gains = linear + slope
            columns = best_matching(problem, gains)
            rows = np.flatnonzero(columns >= 0)
            cells = rows, columns[rows]
            at_vertex = problem.edges.gradient_at(columns)
            worth_there, bent_there = float(linear[cells].sum()), float(at_vertex[cells].sum()) / 2
            if worth_there + bent_there > value:
                best, value = columns, worth_there + bent_there
            between = float(slope[cells].sum())
            promise = worth_there + between - worth - 2 * bent
            curvature = bent_there - between + bent
            gap = promise / spread(problem, gains)
            if gap <= tol:
                break
            t = min(1.0, -promise / (2 * curvature)) if curvature < 0 else 1.0
            x *= 1 - t
            x[cells] += t
            at_vertex -= slope
            at_vertex *= t
            slope += at_vertex
            del gains, at_vertex  # before the next ones are made
            bent += t * (between - 2 * bent) + t * t * curvature
            worth += t * (worth_there - worth)
        rounded = best_matching(problem, x - 0.5 if problem.partial else x)
        reached = value_at(problem, rounded)
        return Top(rounded, reached, gap) if reached > value else Top(best, value, gap)


def value_at(problem: Quadratic, columns: Array) -> float:
    """Score of a matching."""
    rows = np.flatnonzero(columns >= 0)
    cells = rows, columns[rows]
    return float(problem.linear[cells].sum() + problem.edges.gradient_at(columns)[cells].sum() / 2)


def best_matching(problem: Quadratic, gains: Array) -> Array:
    """Return the column of each row in the matching of highest gain, -1 for none; if partial, only pairs that gain."""
    forbidden = problem.forbidden
    if problem.partial:
        kept = np.maximum(gains, 0.0) if forbidden is None else np.where(forbidden, 0.0, np.maximum(gains, 0.0))
        columns = best_columns(np.ascontiguousarray(kept))
        columns[kept[np.arange(len(columns)), np.maximum(columns, 0)] <= 0] = -1
        return columns
    if forbidden is not None:
        low, high = gains[~forbidden].min(), gains[~forbidden].max()
        worst = low - (min(gains.shape) + 1) * (high - low if high > low else 1 + abs(low))
        gains = np.where(forbidden, worst, gains)
    return best_columns(np.ascontiguousarray(gains))


def spread(problem: Quadratic, gains: Array) -> float:
    """How much the gains of pairs differ, summed over the smaller side: what steps are measured by.

    It is the same whatever constants the gains hold that change no matching, and never zero.
    """
    if problem.forbidden is not None:
        gains = np.where(problem.forbidden, gains[~problem.forbidden].mean(), gains)
    across = gains if gains.shape[0] <= gains.shape[1] else gains.T
    size = float((across.max(1) - across.mean(1)).sum())
    if problem.partial:
        size = max(size, float(np.maximum(across.max(1), 0).sum()))
    return size if size > 0 else np.inf
