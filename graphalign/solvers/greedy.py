"""A matching by repeatedly taking the best pair that is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..problem import NodeEdge, Problem, Solution
from .prepare import prepare


@dataclass(frozen=True)
class Greedy:
    r"""Takes the pair of highest score, strikes its row and column, and goes on.

    When to use it: as a baseline, or where scores are nearly clear. With `unmatched` $u$ it stops when no pair is
    worth more than $2u$. Where all pairs gain ($S \ge 2u$, or $S \ge 0$ without $u$), its total gain is at least half
    of the optimum.

    Cost: $\min(n, m)$ rounds of one arg-max over $n m$ entries, the whole batch at once, on the device of the scores.

    Example:
        >>> import torch
        >>> from graphalign import Greedy, NodeEdge, Problem
        >>> Greedy()(Problem(NodeEdge(torch.tensor([[0.9, 0.8], [0.8, 0.0]])))).matching
        tensor([[1., 0.],
                [0., 1.]])
    """

    order: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    max_nodes: ClassVar[int | None] = None

    def __call__(self, problem: Problem) -> Solution:
        """Solves every problem of the batch; see `Problem` for the objective."""
        working = prepare(problem, self)
        gains = torch.where(working.allowed(), working.scores.node.detach(), -torch.inf)
        floor = -torch.inf if problem.unmatched is None else 2 * problem.unmatched
        return Solution(NodeEdge(_take_best(gains, floor)).to(problem.scores.node.dtype))


def _take_best(gains: Tensor, floor: float) -> Tensor:
    """Pairs `(*b, n, m)` taken in order of gain while the gain is above `floor`."""
    n, m = gains.shape[-2:]
    left, matching = gains.reshape(-1, n * m), torch.zeros_like(gains).reshape(-1, n * m)
    row, col = torch.arange(n * m, device=gains.device) // m, torch.arange(n * m, device=gains.device) % m
    for _ in range(min(n, m)):
        best, index = left.max(-1, keepdim=True)
        matching = matching.scatter_add(-1, index, (best > floor).to(gains))
        left = left.masked_fill((row == index // m) | (col == index % m), -torch.inf)
    return matching.reshape(gains.shape)
