"""The quadratic part of a graph matching problem, kept in factors: a score for each pair of edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem


@dataclass(frozen=True, eq=False)
class Quadratic:
    r"""One problem's $\sum_{ef} K_{ef} X_{s_e s_f} X_{t_e t_f}$ with edges $e = (s_e, t_e)$ and $f = (s_f, t_f)$.

    Memory and time of a product are those of $K$ itself, $|E_1| |E_2|$, not $n^2 m^2$.

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

    def product(self, x: Tensor) -> Tensor:
        r"""Returns $(i, a) \mapsto \sum_{e: s_e = i,\, f: s_f = a} K_{ef} X_{t_e t_f}$, `(n, m)`."""
        return self._scatter(0, self.edge * self._gather(1, x))

    def transposed_product(self, x: Tensor) -> Tensor:
        r"""Returns $(j, b) \mapsto \sum_{e: t_e = j,\, f: t_f = b} K_{ef} X_{s_e s_f}$, `(n, m)`."""
        return self._scatter(1, self.edge * self._gather(0, x))

    def _gather(self, end: int, x: Tensor) -> Tensor:
        return x.index_select(0, self.edges1[end]).index_select(1, self.edges2[end])

    def _scatter(self, end: int, terms: Tensor) -> Tensor:
        n, m = self.node.shape
        rows = terms.new_zeros(n, terms.shape[1]).index_add_(0, self.edges1[end], terms)
        return rows.new_zeros(m, n).index_add_(0, self.edges2[end], rows.mT.contiguous()).mT


def _renumber(edges: Tensor, kept: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Edges between the kept nodes in their new numbers, and which edges those are."""
    place = torch.full((size,), -1).index_copy(0, kept, torch.arange(len(kept)))
    moved = place[edges]
    inside = (moved >= 0).all(0)
    return moved[:, inside], inside
