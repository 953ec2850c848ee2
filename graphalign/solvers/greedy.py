"""A matching by repeatedly taking the best pair that is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .assignment import one_hot
from .completion import complete
from .preparation import settle


@dataclass(frozen=True)
class Greedy(SolverTraits):
    r"""Greedy: takes the pair of highest score, removes its row and column, and repeats.

    It compares scores of different rows. A constant on all scores of one row, which changes no full matching, therefore
    can change its answer, unlike that of the other solvers; a constant on all scores cannot.

    When to use it: as a baseline, or where scores are nearly clear. With `unmatched` $u$ it stops when no pair is
    worth more than $2u$. Where all pairs gain ($S \ge 2u$, or $S \ge 0$ without $u$), its total gain is at least half
    of the optimum.

    Cost: rounds over $n m$ entries, the whole batch at once, on the device of the scores. Each takes all pairs that are
    the best of their row and of their column: about a dozen rounds for random scores, at most $\min(n, m)$.

    Raises:
        ValueError: A score is not finite, or there are edge scores.

    Example:
        >>> import torch
        >>> from graphalign import Greedy, NodeEdge, Problem
        >>> Greedy()(Problem(NodeEdge(torch.tensor([[0.9, 0.8], [0.8, 0.0]])))).matching
        tensor([[1., 0.],
                [0., 1.]])

    References:
        Avis, "A survey of heuristics for the weighted matching problem", Networks 1983, on greedy matching.
    """

    centred: ClassVar[bool] = False

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; see `Problem` for the objective."""
        return settle(problem, self, _solve)


def _solve(problem: Problem) -> Solution:
    gains = problem.scores.node.detach()
    floor = -torch.inf
    if problem.unmatched is not None:
        first, second = problem.alone()
        gains, floor = gains.double() - (first[..., :, None] + second[..., None, :]), 0.0
    found = _take_best(torch.where(problem.allowed(), gains, -torch.inf), floor)
    return Solution(NodeEdge(complete(problem, found.to(problem.scores.node))))


def _take_best(gains: Tensor, floor: float) -> Tensor:
    """Pairs `(*b, n, m)` taken in order of gain, and of place where gains are equal, while above `floor`.

    A pair that is the best of its row and of its column will be taken whatever comes before it, so all such pairs are
    taken at once.
    """
    left, matching, row = gains, torch.zeros_like(gains), torch.arange(gains.shape[-2], device=gains.device)
    while True:
        best, column = left.max(-1)
        mutual = (left.argmax(-2).gather(-1, column) == row) & (best > floor)
        if not bool(mutual.any()):
            break
        pairs = one_hot(torch.where(mutual, column, -1), gains)
        matching = matching + pairs
        left = left.masked_fill(pairs.any(-1, keepdim=True) | pairs.any(-2, keepdim=True), -torch.inf)
    return matching
