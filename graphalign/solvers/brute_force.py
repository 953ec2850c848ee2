"""Exact matching by trying everything: the oracle for small graphs, first and second order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .preparation import in_range, items, prepare_problem


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
        """Solves every problem of the batch; see `Problem` for the objective."""
        working = in_range(prepare_problem(problem, self))
        scores, real1, real2 = (x.detach().cpu() for x in items(working))
        quadratic = _dense(working)
        found = torch.zeros_like(scores)
        for item in range(len(scores)):
            rows, cols = real1[item].nonzero()[:, 0], real2[item].nonzero()[:, 0]
            pairs = None if quadratic is None else quadratic[item][rows][:, rows][:, :, cols][..., cols]
            best = _best(scores[item][rows][:, cols], pairs, working.unmatched)
            found[item, rows[:, None], cols] = best
        node = found.to(working.scores.node).reshape(working.scores.node.shape)
        edge = None if quadratic is None else working.edge_matching(node)
        return Solution(NodeEdge(node, edge).to(problem.scores.node.dtype))


def _best(node: Tensor, pairs: Tensor | None, unmatched: float | None) -> Tensor:
    """The best matching `(n, m)` of one problem of real nodes; `pairs[i, j, a, b]` scores $X_{ia} X_{jb}$."""
    n, m = node.shape
    if n > m:
        turned = None if pairs is None else pairs.permute(2, 3, 0, 1)
        return _best(node.mT, turned, unmatched).mT
    gain = node.double() if unmatched is None else node.double() - 2 * unmatched
    chosen = _matchings(n, m, unmatched is not None)
    table = torch.nn.functional.pad(gain, (0, 1))
    total = sum((table[i][chosen[i]] for i in range(n)), torch.zeros(chosen.shape[1], dtype=torch.float64))
    if pairs is not None:
        table = torch.nn.functional.pad(pairs.double(), (0, 1, 0, 1))
        for i, j in pairs.abs().sum((-2, -1)).nonzero().tolist():
            total += table[i, j].flatten()[chosen[i] * (m + 1) + chosen[j]]
    best = chosen[:, int(total.argmax())] if n else chosen[:, 0]
    return torch.nn.functional.one_hot(best, m + 1)[:, :m].to(node)


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
    edge = problem.scores.edge
    if edge is None or problem.edges1 is None or problem.edges2 is None:
        return None
    n, m = problem.scores.node.shape[-2:]
    first = (problem.edges1[..., 0, :] * n + problem.edges1[..., 1, :])[..., :, None] * (m * m)
    index = first + (problem.edges2[..., 0, :] * m + problem.edges2[..., 1, :])[..., None, :]
    index = index.expand(edge.shape).reshape(edge.shape[:-2].numel(), edge.shape[-2] * edge.shape[-1])
    table = edge.new_zeros(len(index), n * n * m * m)
    table.scatter_add_(1, index, edge.detach().reshape(index.shape))
    return table.reshape(-1, n, n, m, m).cpu()
