"""Exact matching by trying everything: the oracle for small graphs, first and second order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .preparation import in_range, items, settle


@dataclass(frozen=True)
class BruteForce(SolverTraits):
    r"""The optimum of `Problem`'s objective, edge scores included, by enumeration of all matchings.

    When to use it: in tests, and to see how far another solver is from the optimum.

    Cost: $n!$ matchings, or $\sum_k \binom{n}{k}^2 k!$ where nodes may stay alone (40,320 and 1,441,729 for $n = 8$),
    each problem after the other, on the CPU.

    Raises:
        ValueError: A graph of more than 8 nodes.

    Example:
        >>> import torch
        >>> from graphalign import BruteForce, NodeEdge, Problem
        >>> BruteForce()(Problem(NodeEdge(torch.tensor([[1.0, 2.0], [3.0, 9.0]])), unmatched=1.0)).matching
        tensor([[0., 0.],
                [0., 1.]])
    """

    order: ClassVar[int] = 2
    exact: ClassVar[bool] = True
    max_nodes: ClassVar[int | None] = 8

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; see `Problem` for the objective."""
        return settle(problem, self, _solve)


def _solve(problem: Problem) -> Solution:
    working = in_range(problem)
    scores, real1, real2 = (x.detach().cpu() for x in items(working))
    first, second = (x.reshape(-1, x.shape[-1]).cpu() for x in working.alone())
    allowed = working.allowed().reshape(scores.shape).cpu()
    quadratic = _dense(working)
    found = torch.zeros_like(scores)
    for item in range(len(scores)):
        rows, cols = real1[item].nonzero()[:, 0], real2[item].nonzero()[:, 0]
        gains = scores[item].double() - (first[item][:, None] + second[item])
        gains = gains.masked_fill(~allowed[item], -torch.inf)[rows][:, cols]
        pairs = None if quadratic is None else quadratic[item][rows][:, rows][:, :, cols][..., cols]
        found[item, rows[:, None], cols] = _best(gains, pairs, working.unmatched is not None).to(found)
    return Solution(NodeEdge(found.to(problem.scores.node).reshape(problem.scores.node.shape)))


def _best(gains: Tensor, pairs: Tensor | None, partial: bool) -> Tensor:
    """The best matching `(n, m)` of one problem of real nodes; `pairs[i, j, a, b]` scores $X_{ia} X_{jb}$."""
    n, m = gains.shape
    if n > m:
        turned = None if pairs is None else pairs.permute(2, 3, 0, 1)
        return _best(gains.mT, turned, partial).mT
    chosen = _matchings(n, m, partial)
    table = torch.nn.functional.pad(gains, (0, 1))
    total = sum((table[i][chosen[i]] for i in range(n)), torch.zeros(chosen.shape[1], dtype=torch.float64))
    if pairs is not None:
        table = torch.nn.functional.pad(pairs.double(), (0, 1, 0, 1))
        for i, j in pairs.abs().sum((-2, -1)).nonzero().tolist():
            total += table[i, j].flatten()[chosen[i] * (m + 1) + chosen[j]]
    best = chosen[:, int(total.argmax())] if n else chosen[:, 0]
    return torch.nn.functional.one_hot(best, m + 1)[:, :m]


@lru_cache(maxsize=8)
def _matchings(n: int, m: int, partial: bool) -> Tensor:
    """Every matching of n rows to m >= n columns, `(n, count)`; the value m stands for a row left alone."""
    chosen, used = torch.zeros(0, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    for _ in range(n):
        grown = [_extend(chosen, used, column) for column in range(m)]
        if partial:
            grown.append((torch.cat([chosen, torch.full_like(used, m)[None]]), used))
        chosen, used = torch.cat([c for c, _ in grown], 1), torch.cat([u for _, u in grown])
    return chosen


def _extend(chosen: Tensor, used: Tensor, column: int) -> tuple[Tensor, Tensor]:
    free = (used >> column) & 1 == 0
    kept = used[free]
    return torch.cat([chosen[:, free], torch.full_like(kept, column)[None]]), kept | (1 << column)


def _dense(problem: Problem) -> Tensor | None:
    """Edge scores as one table `(B, n, n, m, m)`: small here, as n is at most 8."""
    scores, edges1, edges2 = problem.scores, problem.edges1, problem.edges2
    if not scores.has_edges or edges1 is None or edges2 is None:
        return None
    n, m = scores.node.shape[-2:]
    edge = scores.edge if scores.factors is None else scores.factors[0].double() @ scores.factors[1].double().mT
    assert edge is not None
    edge = edge.detach().double().expand(*problem.batch_shape, *edge.shape[-2:])
    first = (edges1[..., 0, :] * n + edges1[..., 1, :])[..., :, None] * (m * m)
    index = first + (edges2[..., 0, :] * m + edges2[..., 1, :])[..., None, :]
    index = index.expand(edge.shape).reshape(problem.batch_shape.numel(), edge.shape[-2] * edge.shape[-1])
    table = edge.new_zeros(len(index), n * n * m * m)
    table.scatter_add_(1, index, edge.reshape(index.shape))
    return table.reshape(-1, n, n, m, m).cpu()
