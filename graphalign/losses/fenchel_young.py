"""The Fenchel-Young loss of perturbed matching: how far the target is from being optimal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..arguments import check_callable, check_count, check_noise
from ..differentiation import Solver, solve
from ..estimators.noise import Noise, Normal, perturbation
from ..metrics import objective
from ..problem import NodeEdge, Problem
from ..solvers import Lap
from ..targets import check_target

DEFAULT_SOLVER = Lap()
DEFAULT_NOISE = Normal(scale=0.2)


@dataclass(frozen=True)
class FenchelYoung:
    r"""The perturbed Fenchel-Young loss: the mean gain of the best matching over the target, under noise.

    $$L(\theta; T) = \frac1S \sum_s \max_{y \in \mathcal M} \langle\theta + \epsilon_s,\, y\rangle
      - \langle\theta + \epsilon_s,\, T\rangle, \qquad
      \frac{\partial L}{\partial\theta} = \frac1S \sum_s y^\star(\theta + \epsilon_s) - T$$

    With an exact solver it is convex in $\theta$, never negative, and 0 where the target is optimal under every draw.
    The gradient needs no estimator and no second solution, and is unbiased for the loss of infinitely many samples.
    Unlike in the paper, the noise is in the second term too: that changes neither the gradient nor, with noise of
    mean zero, the expectation, and keeps the value from falling below zero. Edge scores meet the pairs of edges that
    the target matches.

    When to use it: where the target matching is known, in place of a loss on the matching with an estimator.

    Cost: $S$ solutions in one batched call.

    Args:
        solver: Any callable `Problem -> Solution`; with one that is not exact the value is a lower bound.
        noise: Distribution of the noise, in units of the scores; with scale 0 this is the perceptron loss. Factors of
            edge scores get none.
        samples: $S$.

    Raises:
        ValueError: `samples` is not a whole number of at least 1, `noise` is not a noise, or `solver` is not callable.

    Example:
        >>> import torch
        >>> from graphalign import FenchelYoung, NodeEdge, Normal, Problem
        >>> scores = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = FenchelYoung(noise=Normal(scale=0.0), samples=1)
        >>> value = loss(Problem(NodeEdge(scores)), torch.eye(2), generator=torch.Generator())
        >>> value.backward()
        >>> value.item(), scores.grad
        (2.0, tensor([[-1.,  1.],
                [ 1., -1.]]))

    References:
        Berthet et al., "Learning with differentiable perturbed optimizers", NeurIPS 2020, section 4; Blondel, Martins
        and Niculae, "Learning with Fenchel-Young losses", JMLR 2020.
    """

    solver: Solver = DEFAULT_SOLVER
    noise: Noise = DEFAULT_NOISE
    samples: int = 4

    def __post_init__(self) -> None:
        check_count(self, "samples")
        check_noise(self, "noise")
        check_callable(self, "solver", "Lap()")

    def __call__(self, problem: Problem, target: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return the losses `(*b)`, in at least float32.

        Args:
            problem: The scores, with the constraints of the matching.
            target: $T$, a 0/1 matching `(*b, n, m)`, broadcast; zero on padding.
            generator: Source of the noise.
        """
        node = problem.scores.node
        with torch.autocast(node.device.type, enabled=False):
            working = problem.with_scores(problem.scores.to(torch.promote_types(node.dtype, torch.float32))).masked()
            wanted = value_of(working, target)
            noise = perturbation(self.noise, working.scores.detach(), self.samples, generator)
            noisy = working.with_scores(noise.map(torch.add, working.scores))
            best = solve(self.solver, noisy, noisy.scores.detach()).value
            return (objective(noisy, best) - objective(noisy, wanted)).mean(0)


def value_of(problem: Problem, target: Tensor) -> NodeEdge:
    """Return the target as a vector in the space of the scores: with the pairs of edges that it matches.

    Args:
        problem: Whose scores it is to meet in `objective`.
        target: A 0/1 matching `(*b, n, m)`, broadcast.

    Example:
        >>> from graphalign import NodeEdge, Problem
        >>> value_of(Problem(NodeEdge(torch.zeros(2, 2))), torch.eye(2, dtype=torch.long)).node
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_target(problem.scores.node.shape, target)
    node = target.to(problem.scores.node).expand_as(problem.scores.node)
    return problem.value(node)
