"""The gradient of the expected matching under noise, by the score-function trick."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from ..arguments import check_count, check_noise
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution
from .imle import mean_over_samples
from .noise import Normal, ScoredNoise

DEFAULT_NOISE = Normal(scale=0.2)


@dataclass(frozen=True)
class Perturbed:
    r"""A perturbed optimiser: the exact gradient of $\mathbb E\, y(\theta + \epsilon)$, by Monte Carlo.

    $$\frac{1}{S - 1} \sum_s \bigl(\langle y_s, g\rangle - \tfrac1S \textstyle\sum_r \langle y_r, g\rangle\bigr)\,
      (-\nabla \log p)(\epsilon_s)$$

    The mean is subtracted to lower the variance; the estimate stays unbiased.

    When to use it: where an unbiased gradient of a smoothed problem is wanted and many samples are affordable: about as
    many as there are nodes, or more. All $n^2$ entries of the noise share one number that says how well it did, so with
    fewer samples a single gradient is nearly nothing but noise.

    Cost: $S$ solutions in one batched call, none in the backward pass.

    Args:
        noise: Distribution of the noise, one with a `score`; its scale sets how smooth the expectation is.
        samples: $S \ge 2$. The variance falls as $1/S$.

    Raises:
        ValueError: Fewer than two samples, a scale that is not above 0, or noise whose density has no gradient in
            closed form.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Normal, Perturbed, Problem, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Lap(), Perturbed(noise=Normal(0.5), samples=20_000))
        >>> matching = match(Problem(NodeEdge(scores)), generator=torch.Generator().manual_seed(0)).matching
        >>> matching[0, 0].backward()
        >>> round(matching[0, 0].item(), 2)  # the normal distribution function at (1 + 1 - 0 - 0) / (2 * 0.5)
        0.98

    References:
        Berthet et al., "Learning with differentiable perturbed optimizers", NeurIPS 2020, proposition 3.1.
    """

    noise: ScoredNoise = DEFAULT_NOISE
    samples: int = 16

    def __post_init__(self) -> None:
        check_count(self, "samples")
        check_noise(self, "noise")
        if not callable(getattr(self.noise, "score", None)):
            raise ValueError(
                f"Perturbed weights the noise with the gradient of its log-density, and {self.noise!r} has none in "
                f"closed form (no method `score`): use gumbel or normal, or imle with this noise"
            )
        if self.samples < 2 or getattr(self.noise, "scale", 1.0) <= 0:
            raise ValueError(f"Perturbed needs at least 2 samples and noise of scale above 0; got {self!r}")

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Return the mean matching of the perturbed problems, with the gradient of its expectation."""
        scores = problem.scores.detach()
        if scores.factors is not None:
            raise ValueError(
                "Perturbed gives the factors of edge scores no gradient, as it perturbs no table of them: use imle or "
                "blackbox, or give edge scores as a table"
            )
        noise = self.noise.sample(scores, self.samples, generator)
        drawn = solve(solver, problem, noise.map(torch.add, scores))

        def vjp(grad: NodeEdge) -> NodeEdge:
            """Weigh the score of each noise sample with its centred reward."""
            reward = drawn.value.dot(grad)
            centred = (reward - reward.mean(0)) * (self.samples / (self.samples - 1))
            return (self.noise.score(noise) * centred).mean(0)

        return attach_vjp(mean_over_samples(drawn), problem.scores, vjp)
