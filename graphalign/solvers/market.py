"""Prices and pairs on lists of candidates: an auction that comes near the optimum, shortest paths that reach it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates
from .sides import Sides

Array = NDArray[Any]
Bid = Callable[[Sides, Array, int, float, int], int]
Discontent = Callable[[Sides, float, Array], int]
Settle = Callable[[Sides, Array], int]
# Epsilon scaling: the first epsilon as a share of the range of scores, and how much finer the next one is.
COARSEST, FINER = 0.05, 5.0
# Bids for each node at one epsilon; shortest paths do the rest, e.g. where more rows want the same columns than fit.
BIDS = 30
# How far below the lowest candidate, in ranges of scores, a row without another choice is content during an auction.
DEEP = 4.0


class Infeasible(Exception):
    """A row can neither have a column nor stay alone."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


@cache
def load_engine() -> tuple[Bid, Discontent, Settle]:
    """Return the engine: compiled by numba where that is installed, else in whole arrays."""
    try:
        from .bidding import bid, discontent, settle_rows
    except ImportError:
        from .bidding_plain import bid, discontent, settle_rows
    return bid, discontent, settle_rows


class Market:
    """The state of an assignment of n rows to m columns.

    Args:
        price: Of each column, float64 `(m,)`, at least `floor`.
        floor: What each column earns that stays alone, `(m,)`.
        rows: How many there are.
    """

    def __init__(self, price: Array, floor: Array, rows: int) -> None:
        self.price, self.floor = price, floor
        self.profit, self.column_of = np.zeros(rows), np.full(rows, -1)
        self.row_of = np.full(len(price), -1)
        self._queue = np.empty(max(rows, len(price)), np.int64)

    def trade(self, lists: Candidates, alone: Array, finest: float, *, first: bool) -> None:
        """Bring prices and pairs near an optimum on the lists, by an auction with shrinking steps.

        Args:
            lists: Candidates.
            alone: What each row gets without one of them, `(n,)`; `-inf` if it must have one.
            finest: The last step.
            first: Whether prices have no meaning yet; else it begins with a fine step.
        """
        if not len(lists.scores):
            return
        lowest, span = float(lists.scores.min()), float(np.ptp(lists.scores))
        kept = np.maximum(alone, lowest - self.price.max() - DEEP * span - 1.0)
        # A smaller step would change no price.
        finest = max(finest, 2.0**-48 * float(np.abs(lists.scores).max() + self.price.max()), 1e-300)
        step = max(COARSEST * span, finest) if first else FINER**2 * finest
        while True:
            self._auction(lists, kept, step)
            if step <= finest:
                return
            step = max(step / FINER, finest)

    def _auction(self, lists: Candidates, alone: Array, step: float) -> None:
        """Rows bid for columns, then columns that cost too much and have no row bid for rows."""
        bid, discontent, _ = load_engine()
        rows, columns, queue = self._rows(lists, alone), self._columns(lists), self._queue
        waiting = discontent(rows, step, queue)
        bid(rows, queue, waiting, step, BIDS * len(self.profit))
        costly = self._costly()
        queue[: len(costly)] = costly
        bid(columns, queue, len(costly), step, BIDS * len(self.profit))

    def settle(self, lists: Candidates, alone: Array) -> None:
        """Make prices and pairs an optimum on the lists, by shortest augmenting paths.

        Raises:
            Infeasible: A row can neither have a column nor stay alone.
        """
        _, discontent, settle_rows = load_engine()
        rows, queue = self._rows(lists, alone), self._queue
        waiting = discontent(rows, 0.0, queue)
        stuck = settle_rows(rows, queue[:waiting].copy())
        if stuck >= 0:
            raise Infeasible(int(stuck))
        settle_rows(self._columns(lists), self._costly())

    def _costly(self) -> Array:
        """Columns without a row that cost more than their floor."""
        return np.flatnonzero((self.row_of < 0) & (self.price > self.floor))

    def _rows(self, lists: Candidates, alone: Array) -> Sides:
        """The market with rows as the asking side."""
        return Sides(
            lists.begin, lists.columns, lists.scores, alone,
            self.profit, self.price, self.column_of, self.row_of,
        )  # fmt: skip

    def _columns(self, lists: Candidates) -> Sides:
        """The market with columns as the asking side."""
        return Sides(
            lists.begin2, lists.rows2, lists.scores2, self.floor,
            self.price, self.profit, self.row_of, self.column_of,
        )  # fmt: skip
