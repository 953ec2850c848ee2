"""A gradient from pairs of opposite perturbations."""

from dataclasses import dataclass

import torch

from graphalign import NodeEdge, Normal, Problem, Solution, Solver, attach_vjp, solve


@dataclass(frozen=True)
class Antithetic:
    r"""The slope along random directions, each examined from both sides.

    $$\frac1S \sum_s \frac{\langle g, y(\theta + \sigma z_s) - y(\theta - \sigma z_s)\rangle}{2 \sigma} z_s$$

    with $z$ normal: the gradient of $\mathbb E \langle g, y(\theta + \sigma z)\rangle$, without bias.
    """

    sigma: float = 0.2
    samples: int = 8

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.samples < 1:
            raise ValueError(f"Antithetic needs sigma above 0 and at least one sample; got {self!r}.")

    def apply(self, solver: Solver, problem: Problem, generator: torch.Generator | None) -> Solution:
        scores = problem.scores.detach()
        z = Normal().sample(scores, self.samples, generator)
        ahead, behind = (
            solve(solver, problem, (z * step).map(torch.add, scores)).value for step in (self.sigma, -self.sigma)
        )

        def vjp(grad: NodeEdge) -> NodeEdge:
            slope = (ahead - behind).dot(grad) / (2 * self.sigma)
            return (z * slope).mean(0)

        return attach_vjp(Solution((ahead + behind).mean(0) * 0.5), problem.scores, vjp)
