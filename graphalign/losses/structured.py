"""Losses on the scores that solve by themselves, such as Fenchel-Young's, in the place of a loss on the matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..arguments import check_generator
from ..compatibility import order_of
from ..differentiation import Solver, solve
from ..estimators.imle import mean_over_samples
from ..estimators.noise import Normal
from ..problem import Problem, Solution
from .unordered import Unordered

#: Called as `criterion(problem, target, generator=...)`, with losses `(*b)`; a dataclass with a field `solver`.
Criterion = Callable[..., Tensor]


def judge(
    criterion: Any, problem: Problem, target: Tensor, generator: Generator | None, grouped: bool
) -> tuple[Tensor, Solution]:
    r"""Return the losses `(*b)` and the matching that the criterion found on its way.

    Where nodes are interchangeable no single matching is the target. Both losses of this kind are a maximum over all
    matchings minus a value at the target, $\max_y \langle\theta, y\rangle - \langle\theta, T\rangle$, with the same
    noise. The difference of that over all matchings and that over correct ones,

    $$\max_y \langle\theta, y\rangle - \max_{y \text{ correct}} \langle\theta, y\rangle,$$

    no longer has $T$ in it: it is the loss with the best correct matching, for each draw, as the target.

    Args:
        criterion: Such as `FenchelYoung()`.
        problem: The scores and constraints.
        target: 0/1 `(n, n)`, True at correct pairs.
        generator: Source of the criterion's noise.
        grouped: Whether rows of the target have several correct pairs.
    """
    check_generator(generator)
    recorder = _Recorder(criterion.solver)
    again = None if generator is None or not grouped else generator.clone_state()
    losses = replace(criterion, solver=recorder)(problem, target, generator=generator)
    if grouped:
        within = replace(criterion, solver=_Within(criterion.solver, target))
        losses = losses - within(problem, target, generator=again)
    return losses, recorder.mean(problem)


def judge_without_noise(criterion: Any, problem: Problem, target: Tensor, grouped: bool) -> tuple[Tensor, Solution]:
    """Return the criterion's losses with its noise switched off, and the matching of the plain scores."""
    if hasattr(criterion, "noise"):
        criterion = replace(criterion, noise=Normal(scale=0.0), samples=1)
    losses, _ = judge(criterion, problem, target, torch.Generator(problem.scores.node.device), grouped)
    return losses, solve(Unordered(criterion.solver), problem, problem.scores)


@dataclass
class _Recorder:
    """A solver that keeps its last solution."""

    solver: Solver
    last: Solution | None = None

    @property
    def order(self) -> int:
        return order_of(self.solver)

    def __call__(self, problem: Problem) -> Solution:
        self.last = self.solver(problem)
        return self.last

    def mean(self, problem: Problem) -> Solution:
        """The last solution, as a mean over the samples that were solved in front of the problem's batch."""
        assert self.last is not None, "the criterion solved nothing"
        extra = self.last.matching.dim() - problem.scores.node.dim()
        return mean_over_samples(self.last) if extra else self.last


@dataclass(frozen=True)
class _Within:
    """A solver that keeps to the correct pairs: all others score less than what any matching can make up for."""

    solver: Solver
    correct: Tensor

    @property
    def order(self) -> int:
        return order_of(self.solver)

    def __call__(self, problem: Problem) -> Solution:
        scores, node = problem.scores, problem.scores.node
        alone = torch.maximum(*(x.abs().amax(-1) for x in problem.alone())).to(node)[..., None, None]
        bound = 2 * node.shape[-1] * (node.abs().amax((-2, -1), keepdim=True) + alone) + 1
        if scores.edge is not None:
            bound = bound + 2 * scores.edge.abs().sum((-2, -1), keepdim=True)
        if scores.factors is not None:
            first, second = (x.abs().sum((-2, -1), keepdim=True) for x in scores.factors)
            bound = bound + 2 * first * second
        kept = replace(scores, node=torch.where(self.correct > 0, node, -bound))
        return self.solver(problem.with_scores(kept))
