"""The gradient of a quadratic problem at a matching, from those pairs of edges alone that meet in a matched pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .assignment import Array


@dataclass(frozen=True, eq=False)
class MatchedEdges:
    r"""$\partial q / \partial X$ at matchings, where all but few of the terms $K_{ef} X_{s_e s_f}$ are zero.

    An edge has two ends, each of them a node and the node that it leads to. Those of the second graph are sorted by
    node, so that the ends at any node lie side by side. Where a node of the first graph is matched, each of its ends
    meets each end of its partner. At $k$ neighbours that makes about $2 k |E_1|$ meetings, against $2 |E_1| |E_2|$
    terms for a relaxed $X$; the way to find them does not look at $K$.

    Args:
        scores: $K$, flat.
        shape: n and m.
        node1: The node of each end in the first graph; sources count as nodes of their own, from n on.
        edge1: Where the edge's row of $K$ begins.
        other1: Where the other node's row of $X$ begins.
        edge2: The edge of each end in the second graph.
        other2: The other node.
        first: The first end at each of the 2 m nodes of the second graph, and at a further one that has none.
        count: How many ends there are.
    """

    scores: Array
    shape: tuple[int, int]
    node1: Array
    edge1: Array
    other1: Array
    edge2: Array
    other2: Array
    first: Array
    count: Array

    @classmethod
    def of(cls, edge: Tensor, ends1: Tensor, ends2: Tensor, shape: tuple[int, int]) -> MatchedEdges:
        """Sort the ends of a problem's edges, once for all of its matchings."""
        m, (e, f) = shape[1], edge.shape
        edges1, edges2 = ends1.numpy(), ends2.numpy()
        node2 = np.concatenate([edges2[1], edges2[0] + m])
        order, count = np.argsort(node2, kind="stable"), np.bincount(node2, minlength=2 * m + 1)
        return cls(
            scores=edge.numpy().ravel(),
            shape=shape,
            node1=np.concatenate([edges1[1], edges1[0] + shape[0]]),
            edge1=np.tile(np.arange(e) * f, 2),
            other1=edges1.ravel() * m,
            edge2=order % max(f, 1),
            other2=edges2.ravel()[order],
            first=np.cumsum(count) - count,
            count=count,
        )

    def gradient(self, columns: Array) -> Array:
        """Return the gradient, float64 `(n, m)`, where each row is matched with its column, or with none where -1."""
        n, m = self.shape
        alone = columns < 0
        partner = np.concatenate([np.where(alone, 2 * m, columns), np.where(alone, 2 * m, columns + m)])
        node2 = partner[self.node1]
        count = self.count[node2]
        met = np.cumsum(count)
        end2 = np.arange(met[-1] if len(met) else 0) + np.repeat(self.first[node2] - met + count, count)
        weights = self.scores.take(np.repeat(self.edge1, count) + self.edge2[end2])
        cells = np.repeat(self.other1, count) + self.other2[end2]
        found = np.bincount(cells, weights, n * m).reshape(n, m)
        return found.astype(np.float64, copy=False)  # without any cell, numpy counts in whole numbers
