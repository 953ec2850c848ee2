"""Frank-Wolfe among candidates: a relaxed matching has entries at some pairs of each row, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .assignment import Array
from .candidate_edges import CandidateEdges
from .candidates import Candidates
from .graduated import LAST, SLACK
from .market import Market

# The last step of the auction of a linear assignment, as a share of the range of gains; shortest paths do the rest.
STEP = 1e-4
ROUNDS = 30  # of Sinkhorn at each temperature


class Top(NamedTuple):
    """Where a climb ended.

    Args:
        columns: The column of each row in the best matching met, -1 for none.
        value: Its score.
        gap: The gain that the last step still promised, as a share.
        x: The relaxed matching at the end, at each candidate.
    """

    columns: Array
    value: float
    gap: float
    x: Array


@dataclass(eq=False)
class CandidateProblem:
    r"""$\max \langle L, X\rangle + q(X)$ over matchings among candidates.

    Args:
        lists: Candidates. With full matchings there is one among them.
        linear: $L$ at each candidate; if `partial`, what a pair has beyond leaving its nodes alone.
        edges: $q$.
        partial: Whether rows may stay alone; else all have a column. Columns may, as far as there are more of them.
    """

    lists: Candidates
    linear: Array
    edges: CandidateEdges
    partial: bool

    def __post_init__(self) -> None:
        n, m = self.lists.n, self.lists.m
        self.market = Market(np.zeros(m), np.zeros(m), n)
        self._rows = np.repeat(np.arange(n), np.diff(self.lists.begin))

    def places(self, columns: Array) -> Array:
        """Return which candidates the pairs of a matching are."""
        rows = np.flatnonzero(columns >= 0)
        return np.searchsorted(self.lists.keys, rows * self.lists.m + columns[rows])

    def at(self, columns: Array) -> Array:
        """Return a matching as a number for each candidate."""
        x = np.zeros(len(self.linear))
        x[self.places(columns)] = 1.0
        return x

    def best_matching(self, gains: Array) -> Array:
        """Return the column of each row in the matching of highest gain; prices of the last one are its start."""
        self.lists.rescore(gains)
        alone = np.full(self.lists.n, 0.0 if self.partial else -np.inf)
        alone[self.lists.begin[:-1] == self.lists.begin[1:]] = 0.0
        step = STEP * float(np.ptp(gains)) if len(gains) else 0.0
        self.market.trade(self.lists, alone, step, first=True)
        self.market.settle(self.lists, alone)
        return self.market.column_of.copy()

    def duals_at(self, columns: Array) -> tuple[Array, Array]:
        """Return what rows and columns have in the best matching of the gains at a matching."""
        self.best_matching(self.linear + self.edges.gradient(self.lists, self.at(columns)))
        return self.market.profit, self.market.price

    def centred(self, gains: Array) -> Array:
        """Return gains less the mean of their row, which changes no matching of all rows."""
        if self.partial:
            return gains
        count = np.maximum(np.diff(self.lists.begin), 1)
        mean = np.bincount(self._rows, gains, self.lists.n) / count
        centred: Array = gains - mean[self._rows]
        return centred

    def spread(self, gains: Array) -> float:
        """How much the gains of pairs differ, summed over rows: what steps are measured by. It is never zero."""
        centred = self.centred(gains)
        top = np.zeros(self.lists.n)
        np.maximum.at(top, self._rows, centred)
        return float(top.sum()) or np.inf

    def value_at(self, columns: Array) -> float:
        """Score of a matching."""
        places = self.places(columns)
        slope = self.edges.gradient(self.lists, self.at(columns))
        return float(self.linear[places].sum() + slope[places].sum() / 2)

    def graduated(self, tau: float, steps: int) -> Array:
        """Return a relaxed matching that knows of the edges, as `graduated.graduated` does among all pairs."""
        x = 1.0 / np.maximum(np.diff(self.lists.begin), 1)[self._rows]
        for temperature in np.geomspace(tau, LAST * tau, steps):
            x = self._plan(self.linear + self.edges.gradient(self.lists, x), float(temperature))
        return self.feasible(x)

    def feasible(self, x: Array) -> Array:
        """Return a relaxed matching, no sum of which is above one."""
        x = x / np.maximum(np.bincount(self._rows, x, self.lists.n), 1.0)[self._rows]
        fitting: Array = x / np.maximum(np.bincount(self.lists.columns, x, self.lists.m), 1.0)[self.lists.columns]
        return fitting

    def _plan(self, gains: Array, tau: float) -> Array:
        """The plan of some Sinkhorn rounds, with a slack row and a slack column for nodes that may stay alone."""
        from scipy.sparse import csr_array

        n, m, rows = self.lists.n, self.lists.m, self._rows
        spare1, spare2 = (m, n) if self.partial else (m - n, 0)
        gains = self.centred(gains)
        gains = gains / max(float(np.abs(gains).max(initial=0.0)), SLACK) / tau
        top = np.zeros(n)
        np.maximum.at(top, rows, gains)
        kernel = csr_array((np.exp(np.maximum(gains - top[rows], np.log(SLACK))), self.lists.columns, self.lists.begin),
                           (n, m))  # fmt: skip
        turned, slack = kernel.T.tocsr(), np.exp(np.maximum(-top, np.log(SLACK)))
        v, last = np.ones(m), float(spare2 > 0)
        for _ in range(ROUNDS):
            u = 1.0 / np.maximum(kernel @ v + slack * last, SLACK)
            u_last = spare1 / max(float(v.sum()) + last, SLACK)
            v = 1.0 / np.maximum(turned @ u + u_last, SLACK)
            last = spare2 / max(float(slack @ u) + u_last, SLACK) if spare2 else 0.0
        found: Array = kernel.data * u[rows] * v[self.lists.columns]
        return found

    def climb(self, x: Array, max_iter: int, tol: float) -> Top:
        """Go up from a relaxed matching, at most `max_iter` steps, until one promises less than `tol` of the spread.

        On the way to a vertex the objective is a parabola; see `Climb`, which does the same among all pairs.
        """
        slope = self.edges.gradient(self.lists, x)
        best, value, gap = np.full(self.lists.n, -1), -np.inf, np.inf
        for _ in range(max_iter):
            gains = self.linear + slope
            columns = self.best_matching(gains)
            vertex, places = self.at(columns), self.places(columns)
            there = self.edges.gradient(self.lists, vertex)
            worth, bent = float(self.linear @ x), float(slope @ x) / 2
            worth_there, bent_there = float(self.linear[places].sum()), float(there[places].sum()) / 2
            if worth_there + bent_there > value:
                best, value = columns, worth_there + bent_there
            between = float(slope[places].sum())
            promise, curvature = worth_there + between - worth - 2 * bent, bent_there - between + bent
            gap = promise / self.spread(gains)
            if gap <= tol:
                break
            t = min(1.0, -promise / (2 * curvature)) if curvature < 0 else 1.0
            x, slope = x + t * (vertex - x), slope + t * (there - slope)
        rounded = self.best_matching(x - 0.5 if self.partial else x)
        reached = self.value_at(rounded)
        return Top(rounded, reached, gap, x) if reached > value else Top(best, value, gap, x)
