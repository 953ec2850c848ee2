"""Upper bounds of quadratic problems over matchings."""

from __future__ import annotations

from typing import Any

import numpy as np

from .assignment import Array
from .lap import jonker_volgenant
from .quadratic import Products, Quadratic

LARGEST = 600  # nodes up to which the bound takes less time than the matching


def gilmore_lawler(problem: Quadratic) -> float | None:
    r"""Return a number that no matching's objective exceeds; None for edge scores in a table, or of many nodes.

    If $i$ is matched with $a$, the other nodes give the edges at $i$ at most what pairing the sorted $A_{ij}$ with the
    sorted $B_{ab}$ gives, by the rearrangement inequality. With these numbers as scores of pairs of nodes, a linear
    assignment bounds the sum.

    References:
        Gilmore, "Optimal and suboptimal algorithms for the quadratic assignment problem", SIAM J. 1962; Lawler, "The
        quadratic assignment problem", Management Science 1963.
    """
    edges, (n, m) = problem.edges, problem.linear.shape
    if not isinstance(edges, Products) or max(n, m) > LARGEST:
        return None
    gains, size = problem.linear.copy(), float(np.abs(problem.linear).max())
    for a, b in edges.pairs:
        first, second = (x if isinstance(x, np.ndarray) else x.toarray() for x in (a, b))
        gains += np.outer(first.diagonal(), second.diagonal())
        spare = (m - 1, n - 1) if problem.partial else (max(m - n, 0), max(n - m, 0))
        gains += _others(first, spare[0]) @ _others(second, spare[1]).T
        size += float(np.abs(first).sum(1).max() * np.abs(second).max())
    if problem.partial:
        gains = np.maximum(gains, 0.0)
    if problem.forbidden is not None:
        low = gains.min() - (min(n, m) + 1) * (np.ptp(gains) + 1 + abs(gains.min()))
        gains = np.where(problem.forbidden, 0.0 if problem.partial else low, gains)
    found = jonker_volgenant(np.ascontiguousarray(gains[None]), None, None)
    total: Any = found.bounds
    if total is None:
        total = gains[np.arange(n), found.columns[0]][found.columns[0] >= 0].sum(keepdims=True)
    room = 8 * np.finfo(np.float64).eps * max(n, m) * size * min(n, m)
    return float(total[0] + room)


def _others(matrix: Array, spare: int) -> Array:
    """Each row without its diagonal entry, filled up with zeros, in descending order."""
    size = len(matrix)
    rest = matrix[~np.eye(size, dtype=bool)].reshape(size, size - 1)
    if spare:
        rest = np.pad(rest, ((0, 0), (0, spare)))
    rest.sort(axis=1)
    return rest[:, ::-1]
