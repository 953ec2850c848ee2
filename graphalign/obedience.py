"""Whether a solver returns a solution that does what its problem demands: seeds, forbidden pairs and padded nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .compatibility import name_of
from .problem import Problem
from .solution import Solution

_SOME = 1e-2  # share of a match that a relaxed solver may leave anywhere


def check_solution(solution: object, solver: Any) -> None:
    """Raise TypeError unless a solver's return value is a `Solution`."""
    if not isinstance(solution, Solution):
        raise TypeError(
            f"the solver {name_of(solver)} returned a {type(solution).__name__}; a solver returns a Solution, e.g. "
            "Solution(NodeEdge(matching))"
        )


def check_kept(problem: Problem, rows: Tensor, cols: Tensor, solver: Any) -> None:
    """Raise ValueError unless the pairs `(k,)` of one problem contain its seeds, and no forbidden pair.

    Args:
        problem: One problem, without batch dimensions.
        rows: Long `(k,)`, the matched rows.
        cols: Long `(k,)`, their columns.
        solver: What made them; its name, which needs all plugins, is looked up for an error only.
    """
    if problem.seeds is not None:
        partner = torch.full((problem.scores.frame.shape[-2],), -1)
        partner[rows] = cols
        seeds = problem.seeds[(problem.seeds >= 0).all(-1)]
        _refuse(solver, "did not make the seed", "seeds", seeds[partner[seeds[:, 0]] != seeds[:, 1]])
    forbidden = problem.forbidden
    if forbidden is not None:
        if forbidden.layout == torch.strided:
            made = forbidden[rows, cols]
        else:
            listed, width = forbidden.coalesce(), forbidden.shape[-1]
            first, second = listed.indices()[:, listed.values()]
            made = torch.isin(rows * width + cols, first * width + second)
        _refuse(solver, "made the forbidden pair", "forbidden", torch.stack([rows, cols], 1)[made])


def check_obeys(problem: Problem, matching: Tensor, solver: Any) -> None:
    """Raise ValueError if a matching `(*b, n, m)`, exact or relaxed, breaks a seed, a forbidden pair or a mask."""
    lost = problem.seeded() & (matching < 1 - _SOME)
    _refuse(solver, "did not make the seed", "seeds", lost.nonzero()[:, -2:])
    broken = (matching > _SOME) & ~problem.allowed()
    told = "made a pair that is forbidden, touches a padded node, or takes a node from its seed:"
    _refuse(solver, told, "forbidden`, `mask1`, `mask2` and `seeds", broken.nonzero()[:, -2:])


def _refuse(solver: Any, told: str, parts: str, broken: Tensor) -> None:
    if len(broken):
        raise ValueError(
            f"the solver {name_of(solver)} {told} {tuple(broken[0].tolist())}; a solver must read `{parts}` of the "
            f"problem, or raise an error where it cannot"
        )
