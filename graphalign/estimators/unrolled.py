"""Unrolled: what autograd makes of the solver's own operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Generator

from ..compatibility import needs_autograd
from ..differentiation import Solver
from ..problem import Problem, Solution


@dataclass(frozen=True)
class Unrolled:
    r"""Unrolling: differentiates through every operation of a relaxed solver.

    It differentiates the last of the rounds $X_{t+1} = \Phi(X_t, \theta)$ by the chain rule:

    $$\frac{dX_{t+1}}{d\theta} = \partial_X \Phi\, \frac{dX_t}{d\theta} + \partial_\theta \Phi$$

    When to use it: with `sinkhorn` or `pygm_sinkhorn`, far from convergence: the gradient is exact for the iterations
    that were made. Where these suffice, `implicit` has the same gradient for less. Mind that a gradient settles later
    than its plan: where a tolerance stops the rounds early, as on the identity matrix, which needs one, it is that of
    few rounds. `sinkhorn(tol=0.0)` makes all of them.

    Cost: the backward pass costs about as much as the forward one, and memory grows with the number of iterations.
    `sinkhorn` takes its slower route, the log domain, while autograd records.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, Sinkhorn, Unrolled, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Sinkhorn(tau=1.0, tol=0.0), Unrolled())
        >>> match(Problem(NodeEdge(scores))).matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.0983, -0.0983],
                [-0.0983,  0.0983]])

    Raises:
        ValueError: The solver breaks the chain of operations that autograd follows.

    References:
        Adams and Zemel, "Ranking via Sinkhorn propagation", arXiv 1106.1925, 2011.
    """

    def refusal(self, solver: Any) -> str | None:
        """Say why this estimator cannot serve `solver`, or None."""
        return needs_autograd("unrolled", solver)

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem with autograd recording; draw no noise."""
        solution = solver(problem)
        if problem.scores.node.requires_grad and not solution.value.node.requires_grad:
            raise ValueError(
                "unrolled: autograd cannot follow this solver; use imle, blackbox or straight_through with it"
            )
        return solution
