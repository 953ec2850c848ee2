"""Second-order solvers of pygmtools behind one adapter: single problems, real nodes only, no negative affinity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..problem import NodeEdge, Problem, Solution
from .dense_affinity import SingleProblem, check_dense_size
from .lap import Lap
from .preparation import check_problem, settle
from .quadratic import centred

LOW = -2.0  # a score of staying alone at which every pair of a relaxed matching is worth making

#: From a problem of real nodes to a relaxed full matching `(n, m)` and its residual.
Relax = Callable[[SingleProblem], tuple[Tensor, float]]


def solve_densely(problem: Problem, solver: Any, relax: Relax, square: bool = False) -> tuple[Solution, Tensor | None]:
    """Solve every problem of the batch by `relax`, rounding and, where nodes may stay alone, leaving pairs out.

    One problem after the other, as pygmtools stops and normalises with regard to the whole batch. A problem without
    edge scores is solved exactly.

    Args:
        problem: What to solve.
        solver: Who asks, with a field `max_bytes`.
        relax: The engine.
        square: Whether the engine fills rectangular problems up to square ones.

    Returns:
        The solution without `converged`, and residuals `(*b)`; None for a problem without edge scores.
    """
    check_problem(problem, f"{type(solver).__name__}()")
    if not problem.scores.has_edges:
        return Lap()(problem), None
    residuals: list[Tensor] = []

    def solve(working: Problem) -> Solution:
        check_dense_size(working, solver, square)
        with torch.autocast("cpu", enabled=False):
            node, residual = _solve_each(replace(working, scores=working.scores.detach()), relax)
        residuals.append(residual)
        return Solution(NodeEdge(node))

    return settle(problem, solver, solve), residuals[0]


def call(name: str, affinity: Tensor, n: int, m: int, backend: str, **settings: Any) -> Tensor:
    """Call `pygmtools.<name>` for one problem; the backend is an argument, so pygmtools' own setting stays."""
    import pygmtools

    tensors = {"K": affinity, **{key: value for key, value in settings.items() if isinstance(value, Tensor)}}
    given = {key: value[None].numpy() if backend == "numpy" else value[None] for key, value in tensors.items()}
    # ipfp divides by a curvature of zero before it looks whether there is one
    with np.errstate(divide="ignore", invalid="ignore"):
        found = getattr(pygmtools, name)(**{**settings, **given}, n1max=n, n2max=m, backend=backend)
    return torch.as_tensor(found[0])


def _solve_each(problem: Problem, relax: Relax) -> tuple[Tensor, Tensor]:
    """Matchings and residuals of all problems of the batch."""
    like, partial = problem.scores.node, problem.unmatched is not None
    scores = like.reshape(-1, *like.shape[-2:]).cpu()
    found, residuals = torch.zeros_like(scores), scores.new_zeros(len(scores))
    for item, (single, rows, cols) in enumerate(SingleProblem.split(problem)):
        if len(rows) and len(cols):
            gains = _gains(single, partial)
            relaxed, residuals[item] = relax(gains)
            rounded = Lap()(Problem(NodeEdge(relaxed), forbidden=single.forbidden, unmatched=LOW if partial else None))
            matched = rounded.matching
            found[item, rows[:, None], cols] = (without_losses(gains, matched) if partial else matched).to(scores)
    return found.to(like).reshape(like.shape), residuals.to(like).reshape(problem.batch_shape)


def _gains(single: SingleProblem, partial: bool) -> SingleProblem:
    """Scores without what changes no full matching, none of them negative, in a size whose products stay in range.

    In a full matching a constant for each node of a side all of whose nodes are matched changes nothing.
    """
    node, edge = _unit(single.node, single.edge.double())
    if not partial:
        shut = single.forbidden
        node = torch.from_numpy(centred(node.numpy(), None if shut is None else shut.numpy(), False))
        n, m = node.shape
        if shut is None:
            node = node - node.mean(1, keepdim=True) if n <= m else node
            node = node - node.mean(0) if m <= n else node
            node = node - node.min()
        else:
            node = torch.where(shut, 0.0, node - node[~shut].min())
        node, edge = _unit(node, edge)
    return replace(single, node=node.to(single.edge.dtype), edge=edge.to(single.edge.dtype))


def _unit(node: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """Both, divided by the largest entry."""
    size = torch.cat([node.flatten(), edge.flatten()]).abs().amax().clamp_min(torch.finfo(node.dtype).tiny)
    return node / size, edge / size


def without_losses(single: SingleProblem, matched: Tensor) -> Tensor:
    """Leave out the pair that gains least, as long as it gains nothing; the objective never falls."""
    rows, cols = matched.nonzero(as_tuple=True)
    worth = _between(single, rows, cols)
    kept = worth.new_ones(len(worth))
    while kept.any():
        gains = (2 * worth @ kept - worth.diagonal()).masked_fill(kept == 0, torch.inf)
        worst = int(gains.argmin())
        if gains[worst] > 0:
            break
        kept[worst] = 0
    return torch.zeros_like(matched).index_put((rows, cols), kept.to(matched))


def _between(single: SingleProblem, rows: Tensor, cols: Tensor) -> Tensor:
    """The affinity matrix of the matched pairs alone, `(k, k)`, in float64."""
    n, m = single.node.shape
    count = torch.arange(len(rows))
    first = torch.full((n,), -1).index_copy(0, rows, count)[single.edges1][..., None]
    second = torch.full((m,), -2).index_copy(0, cols, count)[single.edges2]
    e, f = (first == second[:, None, :]).all(0).nonzero(as_tuple=True)
    worth = torch.diag(single.node[rows, cols].double())
    worth.index_put_((first[0, e, 0], first[1, e, 0]), single.edge[e, f].double(), accumulate=True)
    return (worth + worth.mT) / 2
