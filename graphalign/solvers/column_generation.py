"""Assignment of many rows to many columns with a certificate: candidates are added until the optimum is proved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .candidates import Candidates
from .lap import best_columns
from .market import Market
from .pair_scores import DOUBLE, ListedScores, PairScores, unit_of
from .scan import Scan, scan_rows

Array = NDArray[Any]
# Share of all rows whose candidates are renewed together with those of rows that need it.
SHARE = 8
# Rounds after the gap is reached, while the rows that took the rest are fewer than this share of all.
SPARE, HANDFUL = 20, 64
# Up to so many rows and columns that are left over are matched exactly for the matching of now.
FEW = 512
# The last step of the auction, as a share of the error allowed for each row.
STEP = 0.5
# Error of sums of scores and prices in double precision, as a share of the objective.
ROUNDING = 1e-12
# The same of scores that are themselves much rounded; more than this is not called an optimum.
MOST_ROUNDING = 1e-6
# The gap for which the auction prepares where a smaller one is requested; shortest paths do the rest.
FINEST = 1e-9
# Terms of scores up to these sizes, and some sums of them, stay in the range of float32 and float64.
LARGEST_SINGLE, LARGEST = 1e36, 1e306


@dataclass(frozen=True)
class Found:
    """A matching with a certificate.

    Args:
        columns: The column of each row, -1 for a row that stays alone.
        objective: Its total: scores of pairs and of nodes alone.
        bound: Upper bound on the objective of any matching.
        price: Dual values of the columns.
        doubt: How far the bound may be above the optimum because of rounding in double precision alone.
    """

    columns: Array
    objective: float
    bound: float
    price: Array
    doubt: float = 0.0


#: Called with what is done (in words), how much of it, of how much, and the best matching so far.
Report = Callable[[str, int, int, Found], None]
#: From rows to what a scan of them finds, at prices, with k columns each.
Look = Callable[[PairScores, Array, Array, int, Array, Candidates], Scan]


class Search:
    r"""The search for the best assignment of rows to at least as many columns.

    $$\max_X \sum_{ij} s_{ij} x_{ij} + \sum_{i \text{ alone}} u_i + \sum_{j \text{ alone}} v_j
      \;\le\; \sum_i \max\bigl(u_i, \max_j (s_{ij} - p_j)\bigr) + \sum_j p_j \quad\text{for all } p \ge v$$

    Each row has a list of candidates and a number `rest` that bounds $s_{ij} - p_j$ for all other columns: a scan of
    all columns at some prices gives both, and as long as no price falls below these it stays true. A market finds the
    optimum of the lists, where a row may also take `rest`. It is a relaxation, so its optimum is a bound; where no row
    takes `rest`, it is the optimum. Else those rows, and others that are close to it, are scanned again at the present
    prices. Columns that fell below the prices of a scan are added to the lists of its rows where they matter.

    Args:
        scores: Of all pairs.
        alone: $u$, `(n,)`, `-inf` where a row must have a column.
        floor: $v$, `(m,)`.
        k: Candidates of a row at first.
        gap: Error at which to stop, as a share of the objective.
        price: Prices to begin with, at least `floor`, or None.
        offset: Constant added to objective and bound.
        report: Called now and then, or None.
        look: The scan, or None for the one of this process.

    Raises:
        ValueError: Scores are so large that sums of them overflow.
    """

    def __init__(
        self, scores: PairScores, alone: Array, floor: Array, *, k: int, gap: float, price: Array | None = None,
        offset: float = 0.0, report: Report | None = None, look: Look | None = None,
    ) -> None:  # fmt: skip
        self.scores, self.alone, self.k, self.gap, self.offset = scores, alone, k, gap, offset
        n, m = scores.shape
        self.lists = Candidates(n, m)
        self.market = Market((floor if price is None else np.maximum(price, floor)).copy(), floor, n)
        self.rest, self.slack = np.full(n, np.inf), np.zeros(n)
        self.epoch, self.past = np.zeros(n, np.int64), list[Array]()
        self.report, self.look = report, look or self._look_alone
        self._keep_in_range()
        self.rounding = self.scores.rounding(np.arange(n), unit_of(self.scores.dtype))
        self.exact_rounding = self.scores.rounding(np.arange(n), DOUBLE)
        if isinstance(scores, ListedScores):
            self.lists.merge(scores.keys, scores.values)
            self.rest[:] = -np.inf
        self.best = self._trivial()

    def run(self, rounds: int) -> Found:
        """Search until the gap is reached or proved to be rounding, or for some rounds.

        Raises:
            Infeasible: A row can neither have a column nor stay alone.
        """
        todo, spare = [np.flatnonzero(self.rest > -np.inf)], SPARE
        self._tell("scanned", 0, len(todo[0]))
        for number in range(rounds):
            for rows in todo:
                self._scan(rows)
            step = STEP * max(self.gap, FINEST) * self.size() / self.scores.shape[0]
            self.market.trade(self.lists, self._other(), step, first=number == 0)
            self.market.settle(self.lists, self._other())
            changed = self._follow_prices()
            self._judge()
            self._tell("matched", number + 1, rounds)
            if self.done():
                # A few rows that took the rest are cheap to scan again, and then have their best column.
                needy = np.flatnonzero(self._needy())
                if spare == 0 or not 0 < len(needy) <= max(1, self.scores.shape[0] // HANDFUL):
                    break
                spare, todo = spare - 1, [needy]
                continue
            todo = self._next()
            if not todo and not changed:
                if self.error() <= self.gap * abs(self.best.objective) or not self._refine():
                    break
                todo = [np.flatnonzero(self.rest > -np.inf)]
        return replace(self.best, doubt=self.doubt())

    def size(self) -> float:
        """Denominator of the relative gap: the objective or, if smaller, its excess over that of usual pairs.

        So a constant that is added to all scores changes nothing.
        """
        total = max(abs(self.best.objective), abs(self.best.bound))
        listed = self.lists.scores
        spread = float(listed.max() - listed.mean()) * self.lists.n if len(listed) else total
        return min(total, spread)

    def tolerance(self) -> float:
        """The error at which the search stops."""
        return self.gap * self.size()

    def done(self) -> bool:
        """Whether the gap is reached."""
        return self.error() <= self.tolerance()

    def error(self) -> float:
        """How far the best matching may be from the optimum."""
        return self.best.bound - self.best.objective

    def doubt(self) -> float:
        """How far the bound may be above the optimum because of rounding in double precision alone, within reason."""
        size = max(abs(self.best.objective), abs(self.best.bound))
        return min(2.0 * float(self.exact_rounding.sum()) + ROUNDING * size, MOST_ROUNDING * size)

    def _other(self) -> Array:
        """What each row gets without a candidate: alone, or with any other column, up to rounding."""
        return np.maximum(self.alone, self.rest - self.slack)

    def _scan(self, rows: Array) -> None:
        """List k new candidates of each row; where one took the rest, as many as the longest of their lists has."""
        if not len(rows):
            return
        m = self.scores.shape[1]
        length = np.diff(self.lists.begin)[rows]
        k = max(self.k, int(length.max())) if self._needy()[rows].any() else self.k
        k = min(k, m - int(length.min()))
        price = self.market.price.copy()
        if k > 0:
            found = self.look(self.scores, rows, price, k, self.rounding[rows], self.lists)
            listed = found.columns >= 0
            self.lists.add((rows[:, None] * m + found.columns)[listed], self.scores)
            self.rest[rows] = np.where(k + length < m, found.rest, -np.inf)
            self.slack[rows] = found.slack
        self.epoch[rows] = len(self.past)
        self.past.append(price)
        for old in set(range(len(self.past))) - set(self.epoch.tolist()):
            self.past[old] = price[:0]

    def _look_alone(
        self, scores: PairScores, rows: Array, price: Array, k: int, rounding: Array, lists: Candidates
    ) -> Scan:
        return scan_rows(scores, rows, price, k, rounding, lists, lambda done: self._tell("scanned", done, len(rows)))

    def _follow_prices(self) -> bool:
        """Lists columns where they now cost less than when a row was scanned; says whether lists have changed."""
        price, n = self.market.price, self.scores.shape[0]
        tiny, changed = self.tolerance() / (8 * n), False
        for number, past in enumerate(self.past):
            fallen = np.flatnonzero(price < past) if len(past) else past
            rows = np.flatnonzero((self.epoch == number) & (self.rest > -np.inf)) if len(fallen) else fallen
            if not len(rows):
                continue
            large = fallen[past[fallen] - price[fallen] > tiny]
            if len(large):
                changed |= self._list(rows, large)
                past[large] = price[large]
            left = float((past[fallen] - price[fallen]).max())
            self.rest[rows] += left
        return changed

    def _list(self, rows: Array, columns: Array) -> bool:
        """Add those of the pairs of rows and columns that may beat the rest of the row."""
        m, price, keys = self.scores.shape[1], self.market.price, list[Array]()
        for column in columns:
            some = torch.from_numpy(rows).to(self.scores.device)
            net = self.scores.block(some, column, column + 1)[:, 0].double().cpu().numpy() - price[column]
            better = rows[net > self.rest[rows] - self.slack[rows]]
            keys.append(better * m + column)
        return self.lists.add(np.concatenate(keys), self.scores) > 0

    def _judge(self) -> None:
        """Update the bound by the prices, and the best matching by the pairs, of the market."""
        price, columns = self.market.price, self.market.column_of.copy()
        # A difference, and then a sum, may be rounded down; the next number is not.
        listed = np.nextafter(np.nextafter(self.lists.best(price), np.inf) + self.exact_rounding, np.inf)
        earned = np.maximum(np.maximum(listed, np.nextafter(self.rest + self.slack, np.inf)), self.alone)
        bound = rounded_up([*earned, *price, self.offset])
        if (self.alone == -np.inf).any():
            self._fill(columns)
        objective = self._objective(columns)
        better = objective > self.best.objective
        self.best = Found(
            columns if better else self.best.columns,
            objective if better else self.best.objective,
            min(bound, self.best.bound),
            price.copy() if bound < self.best.bound else self.best.price,
        )

    def _objective(self, columns: Array) -> float:
        rows = np.flatnonzero(columns >= 0)
        if (self.alone[columns < 0] == -np.inf).any():
            return -math.inf
        values = self.scores.exact(rows, columns[rows])
        spare = np.ones(self.scores.shape[1], bool)
        spare[columns[rows]] = False
        return math.fsum([*values, *self.alone[columns < 0], *self.market.floor[spare], self.offset])

    def _fill(self, columns: Array) -> None:
        """Give rows without a column one that is left: the best, where rows and columns that are left are few."""
        rows, free = np.flatnonzero(columns < 0), np.ones(self.scores.shape[1], bool)
        free[columns[columns >= 0]] = False
        left = np.flatnonzero(free)
        if 0 < len(rows) <= len(left) <= FEW:
            pairs = np.repeat(rows, len(left)), np.tile(left, len(rows))
            gains = self.scores.exact(*pairs).reshape(len(rows), len(left))
            lowest = np.where(np.isfinite(gains), gains, 0.0).min() - 2.0 * float(np.ptp(self.lists.scores)) - 1.0
            columns[rows] = left[best_columns(np.maximum(gains, lowest))]
        else:
            columns[rows] = left[: len(rows)]

    def _next(self) -> list[Array]:
        """Rows to scan again: those that took the rest, and others that are close to it, or none."""
        n, rest, needy = self.scores.shape[0], self.rest - self.slack, self._needy()
        if not needy.any():
            return []
        distance = np.where(needy | ~np.isfinite(rest), np.inf, self.market.profit - rest)
        count = min(n // SHARE, int(np.isfinite(distance).sum()))
        near = np.sort(np.argpartition(distance, count - 1)[:count]) if count else np.empty(0, np.int64)
        return [np.flatnonzero(needy), near]

    def _needy(self) -> Array:
        """Which rows took the rest, a column that is not in their list."""
        needy: Array = (self.market.column_of < 0) & (self.rest - self.slack > self.alone)
        return needy

    def _refine(self) -> bool:
        """Turn to double precision; say whether that was new."""
        if self.scores.dtype == torch.float64:
            return False
        self.scores = self.scores.in_double()
        self.rounding = self.scores.rounding(np.arange(self.scores.shape[0]), unit_of(torch.float64))
        return True

    def _keep_in_range(self) -> None:
        """Turn to double precision where terms of scores leave single precision; refuse what leaves double, too."""
        n, m = self.scores.shape
        terms = self.scores.rounding(np.arange(n), DOUBLE).max() / DOUBLE
        if terms > LARGEST_SINGLE and self.scores.dtype != torch.float64:
            self.scores = self.scores.in_double()
        alone = self.alone[self.alone > -np.inf]
        parts = (self.scores.ceiling(), alone, self.market.floor, self.market.price)
        largest = max(terms, *(float(np.abs(x).max(initial=0.0)) for x in parts))
        if not largest <= LARGEST / (n + m):
            raise ValueError(
                f"Sparse: scores or features are so large ({largest:.1e}) that sums of them overflow float64: "
                f"scale them"
            )

    def _trivial(self) -> Found:
        """The rows and columns as they come, with a bound by the size of the scores."""
        columns = np.where(self.alone == -np.inf, np.arange(self.scores.shape[0]), -1)
        top = np.maximum(self.scores.ceiling() - self.market.floor.min(), self.alone)
        bound = rounded_up([*top, *self.market.floor, self.offset])
        return Found(columns, self._objective(columns), bound, self.market.price.copy())

    def _tell(self, what: str, done: int, total: int) -> None:
        if self.report is not None:
            self.report(what, done, total, self.best)


def rounded_up(numbers: list[Any]) -> float:
    """Return the sum of float64 numbers, rounded up: `fsum` gives the nearest number to the true sum."""
    return math.nextafter(math.fsum(numbers), math.inf)
