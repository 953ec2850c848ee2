"""The quadratic part of a graph matching problem, kept in factors: a score for each pair of edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem

BLOCK = 2**18  # pairs of edges that are looked at in one go, so that they stay in the cache


@dataclass(frozen=True, eq=False)
class Quadratic:
    r"""One problem's $q(X) = \sum_{ef} K_{ef} X_{s_e s_f} X_{t_e t_f}$, with edges $e = (s_e, t_e)$, $f = (s_f, t_f)$.

    Args:
        node: Node scores `(n, m)`.
        edge: $K$, `(e, f)`.
        edges1: Long `(2, e)`.
        edges2: Long `(2, f)`.
    """

    node: Tensor
    edge: Tensor
    edges1: Tensor
    edges2: Tensor

    @classmethod
    def split(cls, problem: Problem) -> Iterator[Quadratic]:
        """Yields the problems of a batch one by one, on the CPU."""
        if problem.scores.edge is None or problem.edges1 is None or problem.edges2 is None:
            raise ValueError("A quadratic problem needs edge scores, edges1 and edges2.")
        batch = problem.batch_shape
        parts = (problem.scores.node, problem.scores.edge, problem.edges1, problem.edges2)
        flat = (x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]).cpu() for x in parts)
        return (cls(*one) for one in zip(*flat, strict=True))

    def restrict(self, rows: Tensor, cols: Tensor) -> Quadratic:
        """Returns the problem of the given nodes, without the edges that touch others."""
        n, m = self.node.shape
        if len(rows) == n and len(cols) == m:
            return self
        edges1, keep1 = _renumber(self.edges1, rows, n)
        edges2, keep2 = _renumber(self.edges2, cols, m)
        return Quadratic(self.node[rows][:, cols], self.edge[keep1][:, keep2], edges1, edges2)

    def gradient(self, x: Tensor) -> Tensor:
        r"""Returns $\partial q / \partial X$ at `x`, `(n, m)`, in time and memory of $K$, $|E_1| |E_2|$."""
        (n, m), (e, f) = self.node.shape, self.edge.shape
        total, step = x.new_zeros(n, m), max(1, BLOCK // max(1, f))
        for here, there in ((0, 1), (1, 0)):
            rows, near = x.new_zeros(n, f), x.index_select(1, self.edges2[there])
            for block in (slice(k, k + step) for k in range(0, e, step)):
                terms = near.index_select(0, self.edges1[there, block]).mul_(self.edge[block])
                rows.index_add_(0, self.edges1[here, block], terms)
            total.index_add_(1, self.edges2[here], rows)
        return total


def _renumber(edges: Tensor, kept: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Edges between the kept nodes in their new numbers, and which edges those are."""
    place = torch.full((size,), -1).index_copy(0, kept, torch.arange(len(kept)))
    moved = place[edges]
    inside = (moved >= 0).all(0)
    return moved[:, inside], inside
