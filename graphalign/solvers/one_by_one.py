"""What second-order solvers share that take one problem after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..problem import NodeEdge, Problem, Solution
from .assignment import Array, assign_columns
from .lap import load_engine
from .preparation import check_problem, settle
from .quadratic import Quadratic


class One(NamedTuple):
    """Result of an engine for one problem: the column of each row, -1 for rows without one, and the residual."""

    columns: Array
    residual: float
    bound: float | None = None


SolveOne = Callable[[Quadratic], One]


def solve_one_by_one(problem: Problem, solver: Any, solve_one: SolveOne) -> Solution:
    """Solve every problem of the batch on the CPU; without edge scores exactly.

    Args:
        problem: What to solve.
        solver: Who asks, with a field `tol`: a residual up to that has converged.
        solve_one: The engine.
    """
    check_problem(problem, f"{type(solver).__name__}()")
    if not problem.scores.has_edges:
        linear = replace(problem, init=None)
        return settle(linear, solver, lambda working: assign_columns(working, load_engine("auto")))

    def solve(working: Problem) -> Solution:
        node, residual, bound = _solve_each(working, solve_one)
        return Solution(NodeEdge(node), residual <= solver.tol, residual=residual, bound=bound)

    return settle(problem, solver, solve)


def _solve_each(problem: Problem, solve_one: SolveOne) -> tuple[Tensor, Tensor, Tensor | None]:
    """Matchings, residuals and, where all have one, bounds of all problems of the batch."""
    batch, like = problem.batch_shape, problem.scores.node
    found, residuals = torch.zeros(batch.numel(), *like.shape[-2:]), torch.zeros(batch.numel(), dtype=torch.float64)
    bounds: list[float | None] = []
    for item, (one, rows, cols) in enumerate(Quadratic.split(problem)):
        open_pairs = len(rows) and len(cols) and (one.forbidden is None or not one.forbidden.all())
        result = solve_one(one) if open_pairs else One(np.full(len(rows), -1), 0.0, 0.0)
        columns = torch.from_numpy(result.columns)
        paired, residuals[item] = columns >= 0, result.residual
        found[item, rows[paired], cols[columns[paired]]] = 1
        bounds.append(None if result.bound is None else result.bound * one.unit + one.constant)
    known = [x for x in bounds if x is not None]
    bound = torch.tensor(known, dtype=torch.float64).reshape(batch) if len(known) == len(bounds) else None
    return found.to(like).reshape(like.shape), residuals.to(like).reshape(batch), bound
