"""The affinity matrix of the textbook, one entry for each two pairs of nodes, for engines that know no other form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem
from .preparation import in_range, items, size_of

LARGEST_SINGLE = 100  # power of two of scores, sums of which are kept in float32


@dataclass(frozen=True, eq=False)
class SingleProblem:
    """One problem of a batch, on the CPU: its real nodes and the edges between them, all renumbered.

    Args:
        node: Node scores `(n, m)` in float64; they count from leaving both nodes alone, if they may stay so.
        edge: Edge scores `(e, f)`.
        edges1: Long `(2, e)`, with numbers below n.
        edges2: Long `(2, f)`, with numbers below m.
        forbidden: Bool `(n, m)`, or None.
    """

    node: Tensor
    edge: Tensor
    edges1: Tensor
    edges2: Tensor
    forbidden: Tensor | None = None

    @classmethod
    def split(cls, problem: Problem) -> Iterator[tuple[SingleProblem, Tensor, Tensor]]:
        """Yield the problems of a batch one by one, each with the rows and columns of its real nodes."""
        problem = in_range(problem)
        if size_of(problem) > LARGEST_SINGLE:
            problem = problem.with_scores(problem.scores.to(torch.float64))
        scores, edges1, edges2 = problem.scores, problem.edges1, problem.edges2
        if not scores.has_edges or edges1 is None or edges2 is None:
            raise ValueError("a quadratic problem needs edge scores, edges1 and edges2")
        edge = scores.edge if scores.factors is None else scores.factors[0] @ scores.factors[1].mT
        assert edge is not None
        batch = problem.batch_shape
        pairs = (x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]) for x in (edge, edges1, edges2))
        first, second = problem.alone()
        gains = scores.node.double() - (first[..., :, None] + second[..., None, :])
        _, real1s, real2s = items(problem)
        nodes, shuts = (x.reshape(-1, *x.shape[-2:]) for x in (gains, ~problem.allowed()))
        parts = (x.cpu() for x in (real1s, real2s, nodes, shuts, *pairs))
        for real1, real2, node, shut, table, ends1, ends2 in zip(*parts, strict=True):
            rows, cols = real1.nonzero()[:, 0], real2.nonzero()[:, 0]
            (own1, keep1), (own2, keep2) = _renumber(ends1, real1), _renumber(ends2, real2)
            forbidden = None if problem.forbidden is None else shut[rows][:, cols]
            yield cls(node[rows][:, cols], table[keep1][:, keep2], own1, own2, forbidden), rows, cols


def _renumber(edges: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Edges between the real nodes in their new numbers, and which edges those are."""
    inside = real[edges].all(0)
    return (real.cumsum(0) - 1)[edges[:, inside]], inside


def dense_affinity(single: SingleProblem) -> Tensor:
    r"""Return the symmetric $A$, `(n m, n m)`, with $x^\top A x$ the objective of $x = \mathrm{vec}(X)$.

    $\mathrm{vec}$ stacks the columns of $X$, so that the pair $(i, a)$ has index $a n + i$. Node scores are on the
    diagonal. An edge score $K_{(ij),(ab)}$ is shared in halves by $(ia, jb)$ and $(jb, ia)$; edges that occur twice
    add up. Edge scores that no matching can have, of two pairs that share one node only or of a forbidden pair, are
    left out.
    """
    n, m = single.node.shape
    (i, j), (a, b) = single.edges1[..., None], single.edges2
    possible = (i == j) == (a == b)
    sources, targets = a * n + i, b * n + j
    halves = torch.where(possible, single.edge / 2, 0.0).flatten()
    affinity = single.edge.new_zeros(n * m * n * m)
    for one, other in ((sources, targets), (targets, sources)):
        affinity.index_add_(0, (one * n * m + other).flatten(), halves)
    affinity = affinity.view(n * m, n * m)
    affinity.diagonal().add_(single.node.mT.flatten().to(affinity))
    if single.forbidden is not None:
        shut = single.forbidden.mT.flatten()
        affinity.masked_fill_(shut[:, None] | shut, 0.0)
    return affinity


def clipped(affinity: Tensor) -> Tensor:
    """Set negative entries to zero, in place: zero scores survive; penalties are dropped."""
    return affinity.clamp_(min=0)


def scaled(affinity: Tensor) -> Tensor:
    """Divide by the largest entry, in place, so that products neither overflow nor vanish."""
    return affinity.div_(affinity.amax().clamp_min(torch.finfo(affinity.dtype).tiny))


def shifted(affinity: Tensor) -> Tensor:
    r"""Add to all entries, in place, what brings the least of them to zero, if it is negative.

    With $c$ the amount, $x^\top (A + c \mathbf 1 \mathbf 1^\top) x = x^\top A x + c\,(\mathbf 1^\top x)^2$, and
    $\mathbf 1^\top x$ is $\min(n, m)$ for every full matching: all of them gain the same, and their ranking stays.
    """
    return affinity.sub_(affinity.min().clamp_max(0))


def check_dense_size(problem: Problem, solver: Any, square: bool) -> None:
    """Raise ValueError, before anything is allocated, if the largest matrix of a batch exceeds `solver.max_bytes`."""
    _, real1, real2 = items(problem)
    n, m = real1.sum(-1), real2.sum(-1)
    pairs = torch.maximum(n, m) ** 2 if square else n * m
    if len(pairs) == 0:
        return
    worst = int(pairs.argmax())
    needed = int(pairs[worst]) ** 2 * problem.scores.node.element_size()
    if needed > solver.max_bytes:
        raise ValueError(
            f"{type(solver).__name__} would make a matrix of {needed:,} bytes for graphs of {int(n[worst])} and "
            f"{int(m[worst])} nodes; max_bytes allows {solver.max_bytes:,}; use faq, which never makes it, or raise "
            f"max_bytes if the memory is there"
        )
