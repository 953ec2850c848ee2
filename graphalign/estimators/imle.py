"""Implicit maximum likelihood: perturb, solve twice, subtract."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Generator

from ..arguments import check_count, check_flag, check_noise, check_positive
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution
from .interpolation import difference
from .noise import Gumbel, Noise, perturbation

DEFAULT_NOISE = Gumbel(scale=0.2)


@dataclass(frozen=True)
class IMLE:
    r"""Implicit maximum likelihood estimation (I-MLE) of a discrete solver's gradient.

    Forward, with noise $\epsilon_s$: $\;\bar y = \frac1S \sum_s y(\theta + \epsilon_s)$. Backward, with the same noise:

    $$\frac{\rho}{S \lambda} \sum_s
      \Bigl( y(\theta + \epsilon_s) - y\bigl(\theta + \epsilon_s - \tfrac{\lambda}{\rho} g\bigr) \Bigr)$$

    When to use it: the method of the paper this library grew from, and the best default for exact solvers.

    Cost: $2 S$ solutions, made in two batched calls; the second one in the backward pass.

    Args:
        lam: $\lambda$, the step in score space. Larger: a smoother gradient, more biased.
        noise: Distribution of the noise, in units of the scores; factors of edge scores get none. With too little,
            problems that are nearly solved give no gradient.
        samples: $S$. More samples: less variance; the size of the gradient does not change.
        normalize: True: $\rho$ is the largest absolute entry of each problem's incoming gradient, so that `lam` keeps
            its meaning whatever the batch size or loss scale. False: $\rho = 1$, the paper's rule to the letter.

    Raises:
        ValueError: `lam` is not above 0, `samples` is not a whole number of at least 1, `noise` is not a noise, or
            `normalize` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import IMLE, Gumbel, Lap, NodeEdge, Problem, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Lap(), IMLE(lam=4.0, noise=Gumbel(0.1), samples=8))
        >>> matching = match(Problem(NodeEdge(scores)), generator=torch.Generator().manual_seed(0)).matching
        >>> matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])

    References:
        Niepert, Minervini and Franceschi, "Implicit MLE", NeurIPS 2021, algorithm 1.
    """

    lam: float = 1.0
    noise: Noise = DEFAULT_NOISE
    samples: int = 4
    normalize: bool = True

    def __post_init__(self) -> None:
        check_positive(self, "lam")
        check_count(self, "samples")
        check_flag(self, "normalize")
        check_noise(self, "noise")

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve `samples` perturbed copies of the problem and return their mean matching, with its gradient."""
        scores = problem.scores.detach()
        noisy = perturbation(self.noise, scores, self.samples, generator).map(lambda z, x: z + x, scores)
        drawn = solve(solver, problem, noisy)

        def vjp(grad: NodeEdge) -> NodeEdge:
            """Solve the same perturbed copies, `lam` against the gradient, and return the mean difference."""
            again = lambda moved: solve(solver, problem, moved).value  # noqa: E731
            return difference(again, noisy, drawn.value, grad, self.lam, self.normalize).mean(0)

        return attach_vjp(mean_over_samples(drawn), problem.scores, vjp)


def mean_over_samples(drawn: Solution) -> Solution:
    """Return the mean matching of samples `(S, *b)`: converged if all of them are, with the largest residual."""
    converged = None if drawn.converged is None else drawn.converged.all(0)
    residual = None if drawn.residual is None else drawn.residual.amax(0)
    return replace(drawn, value=drawn.value.mean(0), converged=converged, residual=residual, state=None)
