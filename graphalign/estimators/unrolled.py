"""Unrolled: what autograd makes of the solver's own operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Generator

from ..compatibility import needs_autograd
from ..differentiable import Solver
from ..problem import Problem, Solution


@dataclass(frozen=True)
class Unrolled:
    """Differentiates through every operation of a relaxed solver.

    When to use it: with `sinkhorn`. The gradient is exact for the iterations that were made, converged or not.

    Cost: the backward pass costs about as much as the forward one, and memory grows with the number of iterations.

    Raises:
        ValueError: The solver breaks the chain of operations that autograd follows.
    """

    def refusal(self, solver: Any) -> str | None:
        """Says why this estimator cannot serve `solver`, or None."""
        return needs_autograd("unrolled", solver)

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solves the problem with autograd recording; draws no noise."""
        solution = solver(problem)
        if problem.scores.node.requires_grad and not solution.value.node.requires_grad:
            raise ValueError(
                "unrolled: autograd cannot follow this solver; use imle, blackbox or straight_through with it."
            )
        return solution
