"""Detached: the matching as a constant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Generator

from ..differentiation import Solver, solve
from ..problem import Problem, Solution


@dataclass(frozen=True)
class Detached:
    r"""No gradient, which is the true one almost everywhere.

    $$\partial y / \partial\theta = 0$$

    When to use it: as the control of an ablation, "the same loss without a gradient through the matching", or where a
    loss reads the scores too and the matching is only to be a choice. A loss that reads nothing but the matching then
    trains nothing: `AlignmentLoss` takes it in `evaluate`, and refuses it where the features have a gradient.

    Cost: one solution, which remembers nothing.

    Example: the scores of the matched pairs, with the choice of the pairs held fixed.

        >>> import torch
        >>> from graphalign import Detached, Lap, NodeEdge, Problem, differentiable
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]], requires_grad=True)
        >>> matching = differentiable(Lap(), Detached())(Problem(NodeEdge(scores))).matching
        >>> matching.requires_grad
        False
        >>> (scores * matching).sum().backward()
        >>> scores.grad
        tensor([[1., 0.],
                [0., 1.]])
    """

    gives_gradient: ClassVar[bool] = False

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem; draw no noise."""
        solution = solve(solver, problem, problem.scores.detach())
        return replace(solution, value=solution.value.detach())
