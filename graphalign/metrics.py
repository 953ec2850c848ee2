"""Figures about matchings: how right, how feasible, how good."""

from __future__ import annotations

import torch
from torch import Tensor

from .losses.hamming import correspondence
from .problem import NodeEdge, Problem


def matching_accuracy(matching: Tensor, groups: Tensor | None = None) -> Tensor:
    r"""Returns the share of samples matched with themselves, or with one of their group, `(*b)`.

    Args:
        matching: `(*b, n, n)`; a relaxed matching counts by its mass.
        groups: Long `(n)`: samples with equal labels are interchangeable.
    """
    n = matching.shape[-1]
    return (matching * correspondence(n, groups, matching)).sum((-2, -1)) / n


def marginal_error(matching: Tensor, problem: Problem | None = None) -> Tensor:
    r"""Returns how far a matching is from feasible, `(*b)`.

    The largest of: a row or column sum above one; where `problem` demands that its smaller side be matched, a sum there
    other than one; mass on padding.
    """
    rows, cols = matching.sum(-1), matching.sum(-2)
    excess = torch.cat([rows, cols], -1).sub(1).clamp_min(0).amax(-1)
    if problem is None:
        return excess
    excess = torch.maximum(excess, matching.masked_fill(problem.allowed(), 0).abs().amax((-2, -1)))
    if problem.unmatched is not None:
        return excess
    needed = torch.minimum(problem.real1().sum(-1), problem.real2().sum(-1))
    return torch.maximum(excess, (matching.sum((-2, -1)) - needed).abs() / needed.clamp_min(1))


def objective(problem: Problem, value: NodeEdge) -> Tensor:
    """Returns what `Problem` maximises, at the matching `value`, `(*b)`.

    That is scores, edge scores, and `unmatched` for every real node left alone on either side; padding counts for
    nothing.
    """
    total = problem.masked().scores.dot(value)
    if problem.unmatched is None:
        return total
    nodes = problem.real1().sum(-1) + problem.real2().sum(-1)
    return total + problem.unmatched * (nodes - 2 * value.node.sum((-2, -1)))
