"""Implicit: the solver's own gradient, from what holds at its solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import Generator

from ..compatibility import needs_vjp
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution


class SolverWithVJP(Solver, Protocol):
    """A solver that knows the gradient of its solution."""

    def vjp(self, problem: Problem, solution: Solution, grad: NodeEdge) -> NodeEdge:
        """Return the gradient at the scores from the gradient at the matching; linear in `grad`."""


@dataclass(frozen=True)
class Implicit:
    r"""Implicit differentiation of the solver's optimality conditions, not of its steps.

    For `sinkhorn`: the plan is the only $X = \exp(S/\tau + f + g)$ with the sums that are requested, and the implicit
    function theorem gives its derivative by one linear system; see `Sinkhorn.vjp`.

    When to use it: with `sinkhorn` in place of `unrolled`, which has the same gradient once the rounds converged, but
    keeps every round in memory. Mind `Solution.converged`: before, the two differ by about the residual.

    Cost: one solution and the solver's `vjp`; memory does not grow with the number of iterations.

    Raises:
        ValueError: The solver has no method `vjp(problem, solution, grad)`.

    Example:
        >>> import torch
        >>> from graphalign import Implicit, NodeEdge, Problem, Sinkhorn, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Sinkhorn(tau=1.0), Implicit())
        >>> match(Problem(NodeEdge(scores))).matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.0983, -0.0983],
                [-0.0983,  0.0983]])

    References:
        Eisenberger et al., "A unified framework for implicit Sinkhorn differentiation", CVPR 2022.
    """

    def refusal(self, solver: Any) -> str | None:
        """Say why this estimator cannot serve `solver`, or None."""
        return needs_vjp("implicit", solver)

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem and attach the solver's own gradient; draw no noise."""
        fixed = problem.with_scores(problem.scores.detach())
        solution = solve(solver, fixed, fixed.scores)
        own = cast(SolverWithVJP, solver)
        return attach_vjp(solution, problem.scores, lambda grad: own.vjp(fixed, solution, grad))
