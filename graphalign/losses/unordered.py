"""A solver whose ties do not follow the order of the nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..compatibility import order_of
from ..differentiation import Solver
from ..problem import NodeEdge, Problem, Solution


@dataclass
class Unordered:
    """Solves a problem whose columns were put in a random order, always the same one for a number of columns.

    Where scores tie, e.g. as all features are equal, a solver takes some order, most of them that of the nodes. Samples
    are numbered alike in all modalities, so that such a matching would count as right.

    Args:
        solver: What solves. One that autograd can differentiate is relaxed, has no ties, and gets the problem as it is.
    """

    solver: Solver

    @property
    def order(self) -> int:
        return order_of(self.solver)

    def __call__(self, problem: Problem) -> Solution:
        if getattr(self.solver, "differentiable", True):
            return self.solver(problem)
        count = problem.scores.node.shape[-1]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(count)).to(problem.scores.node.device)
        found = self.solver(reordered_columns(problem, order))
        node = torch.empty_like(found.matching).index_copy(-1, order, found.matching)
        value = problem.value(node) if found.value.has_edges else NodeEdge(node)
        return replace(found, value=value, state=None)


def reordered_columns(problem: Problem, order: Tensor) -> Problem:
    """Return the same problem with the nodes of the second graph in another order."""
    place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
    moved = {"mask2": problem.mask2, "forbidden": problem.forbidden}
    parts = {name: None if x is None else x[..., order] for name, x in moved.items()}
    alone = problem.unmatched
    if isinstance(alone, tuple) and isinstance(alone[1], Tensor):
        alone = alone[0], alone[1][..., order]
    seeds = problem.seeds
    if seeds is not None:
        columns = torch.where(seeds[..., 1] >= 0, place[seeds[..., 1].clamp_min(0)], -1)
        seeds = torch.stack([seeds[..., 0], columns], -1)
    return replace(
        problem,
        scores=replace(problem.scores, node=problem.scores.node[..., order]),
        edges2=None if problem.edges2 is None else place[problem.edges2],
        unmatched=alone,
        seeds=seeds,
        init=None,
        **parts,
    )
