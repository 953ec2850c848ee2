"""Adaptive I-MLE: each problem takes the smallest step that changes its matching."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..arguments import check_count, check_noise, check_positive
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution
from .imle import DEFAULT_NOISE, mean_over_samples
from .interpolation import difference
from .noise import Noise, perturbation


@dataclass(frozen=True)
class AIMLE:
    r"""Adaptive implicit maximum likelihood estimation: I-MLE with a step of its own for every problem.

    A small step $\lambda$ has little bias but often changes nothing, a large one has much bias. With the noise
    $\epsilon_s$ of the forward pass and $g$ scaled to the largest entry one, each problem takes the first $\lambda$ of
    `lam`, `2 lam`, `4 lam`, ... at which

    $$\frac1S \sum_s \bigl\lVert y(\theta + \epsilon_s) - y(\theta + \epsilon_s - \lambda g) \bigr\rVert_0 \ge c,$$

    the last one if there is none, and has the gradient of `imle` at that step.

    The paper follows the same aim, $c$ entries that differ, by a running mean over training steps that all problems
    share. Here the step is searched afresh for each problem: the gradient depends on the problem alone, not on its
    neighbours in the batch nor on earlier steps, so a resumed run continues exactly as it would have. The
    difference is one-sided, as in `imle`.

    When to use it: where problems of one batch differ much in difficulty, or the scores' size is not known beforehand.

    Cost: $S$ solutions forward; backward $S$ for each step tried, from one to `steps` of them, as many as the hardest
    problem of the batch takes; one that already has the matching that $g$ asks for takes all.

    Args:
        lam: The first and smallest step, in score space, relative to the largest absolute entry of each problem's
            incoming gradient.
        steps: How many steps are tried at most.
        changes: $c$, how many entries of a matching must differ, in the mean over samples. A swap of two pairs is four.
        noise: Distribution of the noise, in units of the scores. Factors of edge scores get none.
        samples: $S$.

    Raises:
        ValueError: `lam` or `changes` is not above 0, `steps` or `samples` is not a whole number of at least 1, or
            `noise` is not a noise.

    Example:
        >>> import torch
        >>> from graphalign import AIMLE, Lap, NodeEdge, Normal, Problem, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Lap(), AIMLE(lam=0.5, noise=Normal(0.0), samples=1))
        >>> matching = match(Problem(NodeEdge(scores)), generator=torch.Generator()).matching
        >>> matching[0, 0].backward()  # steps of 0.5, 1 and 2 change nothing, or tie; 4 turns the matching
        >>> scores.grad
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])

    References:
        Minervini, Franceschi and Niepert, "Adaptive perturbation-based gradient estimation for discrete latent variable
        models", AAAI 2023.
    """

    lam: float = 0.1
    steps: int = 7
    changes: float = 1.0
    noise: Noise = DEFAULT_NOISE
    samples: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "lam", "changes")
        check_count(self, "steps", "samples")
        check_noise(self, "noise")

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve `samples` perturbed copies of the problem and return their mean matching, with its gradient."""
        scores = problem.scores.detach()
        noisy = perturbation(self.noise, scores, self.samples, generator).map(torch.add, scores)
        drawn = solve(solver, problem, noisy)

        def step(grad: NodeEdge, lam: float) -> NodeEdge:
            """Return the difference of a step `lam` at the same noise."""
            again = lambda moved: solve(solver, problem, moved).value  # noqa: E731
            return difference(again, noisy, drawn.value, grad, lam, normalize=True)

        def vjp(grad: NodeEdge) -> NodeEdge:
            """Double the step where too few matchings changed."""
            found = step(grad, self.lam)
            for doubling in range(1, self.steps):
                open_ = (self._changed(found) < self.changes) & (grad.amax() > 0)
                if not bool(open_.any()):
                    break
                wider = step(grad, self.lam * 2**doubling)
                found = wider.map(lambda new, old, at=open_[..., None, None]: torch.where(at, new, old), found)
            return found.mean(0)

        return attach_vjp(mean_over_samples(drawn), problem.scores, vjp)

    @staticmethod
    def _changed(found: NodeEdge) -> Tensor:
        """Entries that differ, in the mean over samples, `(*b)`."""
        return (found.node != 0).sum((-2, -1)).float().mean(0)
