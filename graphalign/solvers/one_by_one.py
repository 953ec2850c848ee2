"""What second-order solvers share that take one problem after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..problem import NodeEdge, Problem, Solution
from .assignment import Array
from .lap import Lap
from .preparation import items, prepare_problem
from .quadratic import Quadratic

#: From a problem of real nodes, and whether they may stay alone (node scores then count from there), to the column of
#: each row, -1 for rows without one, and the residual.
SolveOne = Callable[[Quadratic, bool], tuple[Array, float]]


def solve_one_by_one(problem: Problem, solver: Any, solve_one: SolveOne) -> Solution:
    """Solves every problem of the batch on the CPU; without edge scores exactly.

    Args:
        problem: What to solve.
        solver: Who asks, with a field `tol`: a residual up to that has converged.
        solve_one: The engine.
    """
    working = prepare_problem(problem, solver)
    if working.scores.edge is None:
        return Lap()(problem)
    node, residual = _solve_each(replace(working, scores=working.scores.detach()), solve_one)
    value = NodeEdge(node, working.edge_matching(node)).to(problem.scores.node.dtype)
    return Solution(value, residual <= solver.tol, residual=residual)


def _solve_each(problem: Problem, solve_one: SolveOne) -> tuple[Tensor, Tensor]:
    """Matchings and residuals of all problems of the batch."""
    batch, like = problem.batch_shape, problem.scores.node
    _, real1, real2 = (x.cpu() for x in items(problem))
    found, residuals = torch.zeros(batch.numel(), *like.shape[-2:]), torch.zeros(batch.numel())
    for item, quadratic in enumerate(Quadratic.split(problem)):
        rows, cols = real1[item].nonzero()[:, 0], real2[item].nonzero()[:, 0]
        if len(rows) and len(cols):
            small = _gains(quadratic.restrict(rows, cols), problem.unmatched)
            chosen, residuals[item] = solve_one(small, problem.unmatched is not None)
            columns = torch.from_numpy(chosen)
            paired = columns >= 0
            found[item, rows[paired], cols[columns[paired]]] = 1
    return found.to(like).reshape(like.shape), residuals.to(like).reshape(batch)


def _gains(quadratic: Quadratic, unmatched: float | None) -> Quadratic:
    """What pairs gain over leaving both nodes alone, with node scores in float64."""
    return replace(quadratic, node=quadratic.node.double() - 2 * (unmatched or 0.0))
