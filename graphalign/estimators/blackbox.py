"""Blackbox differentiation: solve once more, a step against the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from ..arguments import check_flag, check_positive
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution
from .interpolation import difference


@dataclass(frozen=True)
class Blackbox:
    r"""Differentiation of a blackbox solver by interpolation.

    $$\frac{\rho}{\lambda}\Bigl(y(\theta) - y\bigl(\theta - \tfrac{\lambda}{\rho}\, g\bigr)\Bigr)$$

    When to use it: where no noise is wanted. A problem that the step does not change gives no gradient; `imle` with
    noise is then the better choice.

    Cost: two solutions, one of them in the backward pass.

    Args:
        lam: $\lambda$, the step in score space. Larger: more often a gradient, more biased.
        normalize: True: $\rho$ is the largest absolute entry of each problem's incoming gradient. False: $\rho = 1$,
            the paper's rule to the letter.

    Raises:
        ValueError: `lam` is not above 0, or `normalize` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import Blackbox, Lap, NodeEdge, Problem, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Lap(), Blackbox(lam=4.0))
        >>> match(Problem(NodeEdge(scores))).matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])

    References:
        Pogančić et al., "Differentiation of blackbox combinatorial solvers", ICLR 2020, algorithm 1. The paper
        minimises; scores are maximised here, so the signs are the opposite.
    """

    lam: float = 1.0
    normalize: bool = True

    def __post_init__(self) -> None:
        check_positive(self, "lam")
        check_flag(self, "normalize")

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem and attach the interpolated gradient; draw no noise."""
        scores = problem.scores.detach()
        solution = solve(solver, problem, scores)

        def vjp(grad: NodeEdge) -> NodeEdge:
            """Solve once more, `lam` against the gradient, and return the scaled difference."""
            again = lambda moved: solve(solver, problem, moved).value  # noqa: E731
            return difference(again, scores, solution.value, grad, self.lam, self.normalize)

        return attach_vjp(solution, problem.scores, vjp)
