"""Exchanges of two partners: what makes a matching a local optimum, and a search beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .assignment import Array
from .climb import spread, value_at
from .quadratic import Products, Quadratic, Table

LARGEST = 3000  # nodes up to which the matrices of a search are kept dense
SWEEPS = 1000
ROUNDING = 1e-10  # of the spread of the gains: what is gained must be more than rounding


class Exchanges(Protocol):
    """What looks for exchanges of two partners that gain.

    A row without a column has that of a stand-in, so that an exchange also moves a row to a free column, and, where
    nodes may stay alone, makes and dissolves pairs.
    """

    def improve(self, columns: Array, steps: int, seed: int) -> tuple[Array, float]:
        """Return a matching that no exchange improves, and the best gain that an exchange has left, as a share.

        Args:
            columns: The column of each row `(n,)`, -1 for none.
            steps: Of robust tabu search; 0 for none.
            seed: Of the search.
        """


def exchanges_of(problem: Quadratic) -> Exchanges | None:
    """Return the exchanges of a problem; None of one of too many nodes."""
    if sum(problem.linear.shape) > 2 * LARGEST:
        return None
    return TableExchanges.of(problem) if isinstance(problem.edges, Table) else ProductExchanges.of(problem)


@dataclass(frozen=True, eq=False)
class ProductExchanges:
    """Exchanges with edges in factors, among equally many nodes on both sides: stand-ins without edges fill them up.

    Args:
        problem: The problem whose matching is improved.
        size: N.
        linear: Node scores `(N, N)`, zero at stand-ins.
        forbidden: Bool `(N, N)`, or `(0, 0)`.
        matrices: $A$ and $A^\\top$, $B$ and $B^\\top$, `(R, N, N)`; the transposed ones empty where all are symmetric.
    """

    problem: Quadratic
    size: int
    linear: Array
    forbidden: Array
    matrices: tuple[Array, Array, Array, Array]

    @classmethod
    def of(cls, problem: Quadratic) -> ProductExchanges:
        """Lay the problem out; its edges must be products."""
        assert isinstance(problem.edges, Products)
        n, m = problem.linear.shape
        size = n + m if problem.partial else max(n, m)
        first, second = (_stacked(side, size) for side in zip(*problem.edges.pairs, strict=True))
        none = np.empty((0, 0, 0))
        symmetric = problem.edges.symmetric
        turned = (none, none) if symmetric else tuple(np.ascontiguousarray(x.swapaxes(1, 2)) for x in (first, second))
        forbidden = np.zeros((0, 0), bool) if problem.forbidden is None else _padded(problem.forbidden, size)
        return cls(problem, size, _padded(problem.linear, size), forbidden, (first, turned[0], second, turned[1]))

    def improve(self, columns: Array, steps: int, seed: int) -> tuple[Array, float]:
        """Return a matching that no exchange improves, and the best gain left; without numba there is no search."""
        try:
            from .exchange_moves import descend, search
        except ImportError:
            return TableExchanges(self.problem).improve(columns, 0, seed)

        n, m = self.problem.linear.shape
        whole = filled(columns, m, self.size)
        a, at, b, bt = self.matrices
        size = spread(self.problem, self._slope(whole)[:n, :m])
        tol = ROUNDING * size if np.isfinite(size) else 0.0
        left = descend(a, at, b, bt, self._slope(whole), whole, self.forbidden, tol, SWEEPS)
        if steps and search(a, at, b, bt, self._slope(whole), whole, self.forbidden, tol, steps, seed) > 0:
            left = descend(a, at, b, bt, self._slope(whole), whole, self.forbidden, tol, SWEEPS)
        found = np.where(whole[:n] < m, whole[:n], -1)
        return found, left / size if left > tol else 0.0

    def _slope(self, columns: Array) -> Array:
        """The derivative of the objective at a matching of all N nodes."""
        a, at, b, bt = self.matrices
        if self.size == len(self.problem.linear) == self.problem.linear.shape[1]:
            slope = self.problem.edges.gradient_at(columns)
            slope += self.linear
            return slope
        total = self.linear.copy()
        for r in range(len(a)):
            if len(at):
                total += a[r] @ bt[r][columns] + at[r] @ b[r][columns]
            else:
                total += 2 * (a[r] @ b[r][columns])
        return total


@dataclass(frozen=True, eq=False)
class TableExchanges:
    """Exchanges with any edges, all of them handled at once; the best one is made, and so on.

    Args:
        problem: The problem whose matching is improved.
        table: $K$, of one edge between any two nodes of the second graph; None with edges in factors.
        numbers: Of the edge between two nodes of the second graph, `(m, m)`, -1 for none.
    """

    problem: Quadratic
    table: Array | None = None
    numbers: Array | None = None

    @classmethod
    def of(cls, problem: Quadratic) -> TableExchanges:
        """Number the edges of the second graph; of those between the same nodes scores add up."""
        assert isinstance(problem.edges, Table)
        m, (source, target) = problem.linear.shape[1], problem.edges.edges2.numpy()
        places, owner = np.unique(source * m + target, return_inverse=True)
        table = problem.edges.edge.double().numpy()
        if len(places) < len(source):
            summed = np.zeros((len(table), len(places)))
            np.add.at(summed.T, owner, table.T)
            owner, table = np.arange(len(places)), summed
            source, target = places // m, places % m
        else:
            owner = np.arange(len(source))
        numbers = np.full((m, m), -1)
        numbers[source, target] = owner
        return cls(problem, table, numbers)

    def improve(self, columns: Array, steps: int, seed: int) -> tuple[Array, float]:
        """Return a matching that no exchange improves, and the best gain left; there is no search."""
        problem, (n, m) = self.problem, self.problem.linear.shape
        size = n + m if problem.partial else max(n, m)
        whole = filled(columns, m, size)
        for _ in range(SWEEPS):
            found = np.where(whole[:n] < m, whole[:n], -1)
            slope = problem.linear + problem.edges.gradient_at(found)
            unit = spread(problem, slope)
            gains = self._gains(slope, whole)
            i, j = np.unravel_index(int(gains.argmax()), gains.shape)
            if not gains[i, j] > ROUNDING * unit:
                return found, 0.0
            before, moved = value_at(problem, found), whole.copy()
            moved[[i, j]] = moved[[j, i]]
            after = value_at(problem, np.where(moved[:n] < m, moved[:n], -1))
            if after <= before:  # what an edge that occurs twice can do
                return found, 0.0
            whole = moved
        return found, float(gains[i, j]) / unit

    def _gains(self, slope: Array, whole: Array) -> Array:
        """What each two rows gain by exchanging their columns, `(N, N)`; -inf where that makes a forbidden pair."""
        size = len(whole)
        moved = _padded(slope, size)[:, whole]
        own = moved.diagonal()
        gains = moved + moved.T - own[:, None] - own
        self._add_bends(gains, whole)
        if self.problem.forbidden is not None:
            shut = _padded(self.problem.forbidden, size)[:, whole]
            gains[shut | shut.T] = -np.inf
        return gains

    def _add_bends(self, gains: Array, whole: Array) -> None:
        """Add what the objective bends on the way of an exchange, for the two nodes of each edge."""
        edges, m = self.problem.edges, self.problem.linear.shape[1]
        if isinstance(edges, Products):
            for a, b in edges.pairs:
                first, second = (_padded(x, len(whole)) for x in (a, b))
                second = second[whole][:, whole]
                gains += _bend(first) * _bend(second)
            return
        assert isinstance(edges, Table)
        assert self.numbers is not None
        wide = np.full((len(whole), len(whole)), -1)
        wide[:m, :m] = self.numbers
        source, target = edges.edges1.numpy()
        between = np.flatnonzero(source != target)
        i, j = source[between], target[between]
        found = self._bends(between, wide, whole[i], whole[j])
        np.add.at(gains, (i, j), -found)
        np.add.at(gains, (j, i), -found)
        for loop in np.flatnonzero(source == target):
            i = source[loop]
            found = self._bends(np.full(len(whole), loop), wide, np.full(len(whole), whole[i]), whole)
            gains[i] += found
            gains[:, i] += found

    def _bends(self, edges: Array, wide: Array, p: Array, q: Array) -> Array:
        """The scores of edges with edges between p and q: at the nodes themselves, less those across."""
        assert self.table is not None
        total = np.zeros(len(edges))
        if 0 in self.table.shape:
            return total
        for sign, numbers in ((1, wide[p, p]), (1, wide[q, q]), (-1, wide[p, q]), (-1, wide[q, p])):
            total += sign * np.where(numbers >= 0, self.table[edges, numbers], 0.0)
        return total


def _bend(matrix: Array) -> Array:
    own = matrix.diagonal()
    found: Array = own[:, None] + own - matrix - matrix.T
    return found


def filled(columns: Array, m: int, size: int) -> Array:
    """Return the columns of N rows: those without one, and stand-ins, get what is left, stand-ins first."""
    whole = np.full(size, -1)
    whole[: len(columns)] = columns
    free = np.setdiff1d(np.arange(size), columns)
    whole[whole < 0] = np.concatenate([free[free >= m], free[free < m]])
    return whole


def _stacked(matrices: Any, size: int) -> Array:
    """All of one side, `(R, N, N)`; a single one is not copied."""
    padded = [_padded(x, size) for x in matrices]
    return padded[0][None] if len(padded) == 1 else np.stack(padded)


def _padded(matrix: Any, size: int) -> Array:
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    if len(dense) == size == dense.shape[1]:
        return np.ascontiguousarray(dense)
    out = np.zeros((size, size), dense.dtype)
    out[: dense.shape[0], : dense.shape[1]] = dense
    return out
