"""A full matching out of one that ran into a dead end between forbidden pairs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..problem import NodeEdge, Problem
from .lap import Lap


def complete(problem: Problem, matching: Tensor) -> Tensor:
    """Return a matching of a problem that keeps as many pairs of `matching` as one without forbidden pairs can.

    For solvers that may run into a dead end, as those that take one pair after the other.

    Args:
        problem: As `prepare_problem` returns it.
        matching: 0/1 `(*b, n, m)`.
    """
    if problem.forbidden is None or problem.unmatched is not None:
        return matching
    node = problem.scores.node.detach().double()
    size = node.abs().amax((-2, -1), keepdim=True).clamp_min(1e-300)
    kept = torch.where(problem.allowed(), matching.double(), 0.0)
    scores = NodeEdge(node / size + 4 * node.shape[-2] * kept)
    return Lap()(replace(problem, scores=scores, init=None)).matching.to(matching)
