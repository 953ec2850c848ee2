"""The quadratic part of a graph matching problem on candidates: two sparse graphs, and no table of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .assignment import Array
from .candidates import Candidates

ROWS = 512  # of a product that are made at once


class Pairs(NamedTuple):
    """Some pairs with a value each.

    Args:
        rows: Rows, int64.
        columns: Columns, int64.
        values: Values, float64.
    """

    rows: Array
    columns: Array
    values: Array


@dataclass(frozen=True, eq=False)
class CandidateEdges:
    r"""$q(X) = \sum_r \langle A_r X B_r^\top, X\rangle$ for matchings that have entries at candidates alone.

    Args:
        pairs: $A_r$ `(n, n)` and $B_r$ `(m, m)`, in compressed sparse rows.
        symmetric: Whether all of them are, so that one product is enough.
    """

    pairs: tuple[tuple[Any, Any], ...]
    symmetric: bool

    @classmethod
    def of(cls, pairs: tuple[tuple[Any, Any], ...]) -> CandidateEdges:
        """Look whether the matrices are symmetric."""
        return cls(pairs, all((x != x.T).nnz == 0 for pair in pairs for x in pair))

    def _sides(self) -> Iterator[tuple[Any, Any]]:
        """Matrices $A$ and $B$ whose products $A X B^\\top$ add up to the gradient, or to half of it if symmetric."""
        for a, b in self.pairs:
            yield a, b
            if not self.symmetric:
                yield a.T.tocsr(), b.T.tocsr()

    def gradient(self, lists: Candidates, x: Array) -> Array:
        r"""Return $\partial q / \partial X$ at each candidate, given $X$ at each of them."""
        out = np.zeros(len(lists.columns))
        for a, b in self._sides():
            add_products(lists, x, a, b, out)
        return 2 * out if self.symmetric else out

    def around(self, columns: Array) -> Iterator[Pairs]:
        r"""Yield the entries of $\partial q / \partial X$ at a matching that are not zero, block by block of rows.

        Args:
            columns: The column of each row, -1 for none.
        """
        n = len(columns)
        matched = np.flatnonzero(columns >= 0)
        sides = [(a.tocsc()[:, matched].tocsr(), b.T.tocsr()[columns[matched]]) for a, b in self._sides()]
        for first in range(0, n, ROWS):
            total = sum(left[first : first + ROWS] @ right for left, right in sides)
            found = total.tocoo()
            values = 2 * found.data if self.symmetric else found.data
            yield Pairs(found.row.astype(np.int64) + first, found.col.astype(np.int64), values)


def add_products(lists: Candidates, x: Array, a: Any, b: Any, out: Array) -> None:
    r"""Add $A X B^\top$ at candidates to `out`: compiled, or without numba by products of blocks of rows."""
    try:
        from .candidate_products import add_products as add
    except ImportError:
        _add_by_blocks(lists, x, a, b, out)
        return
    add(lists.begin, lists.columns, x, a.indptr, a.indices, a.data, b.indptr, b.indices, b.data, out)


def _add_by_blocks(lists: Candidates, x: Array, a: Any, b: Any, out: Array) -> None:
    from scipy.sparse import csr_array

    kept = x != 0
    begin = np.concatenate([[0], np.cumsum(kept)])[lists.begin]
    matching = csr_array((x[kept], lists.columns[kept], begin), (lists.n, lists.m))
    for first in range(0, lists.n, ROWS):
        end = min(first + ROWS, lists.n)
        part = slice(lists.begin[first], lists.begin[end])
        rows = np.repeat(np.arange(end - first), np.diff(lists.begin[first : end + 1]))
        product = (a[first:end] @ matching @ b.T).tocsr()
        product.sum_duplicates()
        out[part] += np.asarray(product[rows, lists.columns[part]]).ravel()
