"""Candidates: some of the pairs of a problem, by rows and by columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pair_scores import PairScores

Array = NDArray[Any]


class Candidates:
    """Pairs with their scores, in lists of the rows and in lists of the columns.

    The pairs of row i are at `begin[i]:begin[i + 1]` of `columns` and `scores`; those of column j at
    `begin2[j]:begin2[j + 1]` of `rows2` and `scores2`.

    Args:
        n: Rows.
        m: Columns.
    """

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m
        self.keys, self.scores = np.empty(0, np.int64), np.empty(0)
        self._sort()

    def add(self, keys: Array, scores: PairScores) -> int:
        """Add those of the pairs `row * m + column`, all different, that are not there yet; return how many."""
        keys = np.sort(keys)
        if len(self.keys):
            place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
            keys = keys[self.keys[place] != keys]
        if len(keys):
            self.merge(keys, scores.exact(keys // self.m, keys % self.m))
        return len(keys)

    def merge(self, keys: Array, values: Array) -> None:
        """Add pairs that are not there, with their scores."""
        keys = np.concatenate([self.keys, keys])
        order = np.argsort(keys, kind="stable")  # merges two sorted runs
        self.keys, self.scores = keys[order], np.concatenate([self.scores, values])[order]
        self._sort()

    def _sort(self) -> None:
        self.columns = (self.keys % self.m).astype(np.int32)
        self.begin = np.searchsorted(self.keys, np.arange(self.n + 1) * self.m)
        from scipy.sparse import csr_array

        order = np.arange(len(self.keys), dtype=np.int32 if len(self.keys) < 2**31 else np.int64)
        turned = csr_array((order, self.columns, self.begin), (self.n, self.m)).tocsc()
        self.rows2, self._order2 = turned.indices.astype(np.int32), turned.data
        self.begin2, self.scores2 = turned.indptr.astype(np.int64), self.scores[turned.data]

    def rescore(self, values: Array) -> None:
        """Give the pairs other scores."""
        self.scores, self.scores2 = values, values[self._order2]

    def inside(self, rows: Array, first: int, end: int) -> tuple[Array, Array]:
        """Return the places of listed pairs in the block of some rows and of the columns from `first` to `end`."""
        low, high = (np.searchsorted(self.keys, rows * self.m + column) for column in (first, end))
        count = high - low
        places = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
        return np.repeat(np.arange(len(rows)), count), self.columns[places].astype(np.int64) - first

    def best(self, price: Array) -> Array:
        """Return the highest score less price in each row's list, `(n,)`; `-inf` for an empty one."""
        out, filled = np.full(self.n, -np.inf), self.begin[:-1] < self.begin[1:]
        if filled.any():
            out[filled] = np.maximum.reduceat(self.scores - price[self.columns], self.begin[:-1][filled])
        return out
