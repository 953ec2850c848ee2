"""Figures about matchings: how right, how feasible, how good."""

from __future__ import annotations

import torch
from torch import Tensor

from .factors import Factors
from .problem import NodeEdge, Problem
from .targets import correspondence


def matching_accuracy(matching: Tensor, groups: Tensor | None = None) -> Tensor:
    r"""Return the share of samples matched with themselves, or with one of their group, `(*b)`.

    $$\frac1n \sum_{ia} X_{ia} T_{ia}, \qquad T_{ia} = 1 \iff i \text{ and } a \text{ have one label}$$

    Args:
        matching: $X$, `(*b, n, n)`; a relaxed matching counts by its mass.
        groups: Long `(n)`: samples with equal labels are interchangeable; None if each is one of its own.

    Raises:
        TypeError: `groups` is not an integer tensor.
        ValueError: The matching is not square, or `groups` has not one label for each sample.

    Example:
        >>> import torch
        >>> from graphalign import matching_accuracy
        >>> swapped = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> matching_accuracy(swapped), matching_accuracy(swapped, groups=torch.tensor([4, 4, 7]))
        (tensor(0.3333), tensor(1.))
    """
    n = matching.shape[-1]
    if matching.dim() < 2 or matching.shape[-2] != n:
        raise ValueError(
            f"`matching` needs the shape (*batch, n, n), the same samples on both sides; got {tuple(matching.shape)}"
        )
    return (matching * correspondence(n, groups, matching)).sum((-2, -1)) / n


def marginal_error(matching: Tensor, problem: Problem | None = None) -> Tensor:
    r"""Return how far a matching is from feasible, `(*b)`.

    The largest of: a row or column sum above one; where `problem` demands that its smaller side be matched, a sum there
    other than one, in the mean; mass on padding.

    $$\max\Bigl(\max_i \sum_a X_{ia} - 1,\; \max_a \sum_i X_{ia} - 1,\; 0\Bigr) \quad \text{and, of a full matching of }
      k \text{ pairs,} \quad \frac1k \Bigl\lvert \sum_{ia} X_{ia} - k \Bigr\rvert$$

    Args:
        matching: `(*b, n, m)`.
        problem: The problem it should be feasible for; None to check only for sums above one.

    Example:
        >>> import torch
        >>> from graphalign import marginal_error
        >>> marginal_error(torch.tensor([[1.0, 0.0], [0.25, 0.75]]))
        tensor(0.2500)
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
    r"""Return what `Problem` maximises, at the matching `value`, `(*b)`.

    $$\sum_{ia} S_{ia} X_{ia} + \sum K_{(ij),(ab)} X_{ia} X_{jb} + u \bigl(n + m - 2 \textstyle\sum_{ia} X_{ia}\bigr)$$

    That is scores, edge scores, and `unmatched` for every real node left alone on either side; padding counts for
    nothing.

    Args:
        problem: The scores, and what is real.
        value: The matching, with an edge part where the problem has edge scores (`Problem.edge_matching` makes it).

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, objective
        >>> problem = Problem(NodeEdge(torch.tensor([[5.0, 1.0], [2.0, 3.0]])), unmatched=0.5)
        >>> objective(problem, NodeEdge(torch.tensor([[1.0, 0.0], [0.0, 0.0]])))
        tensor(6.)
    """
    if value.node.layout != torch.strided:
        return _objective_of_pairs(problem, value.node.coalesce()) + _edge_part(problem, value)
    total = problem.masked().scores.dot(value)
    if problem.unmatched is None:
        return total
    first, second = problem.alone()
    alone1 = torch.where(problem.real1(), first * (1 - value.node.sum(-1)), 0.0).sum(-1)
    alone2 = torch.where(problem.real2(), second * (1 - value.node.sum(-2)), 0.0).sum(-1)
    return total + (alone1 + alone2).to(total)


def _edge_part(problem: Problem, value: NodeEdge) -> Tensor:
    """What edge scores in factors add, as `NodeEdge.dot` counts them."""
    if problem.scores.factors is None or value.factors is None:
        return torch.zeros((), dtype=torch.float64, device=value.node.device)
    return (problem.scores.factors[0].double() * value.factors[0].double()).sum()


def _objective_of_pairs(problem: Problem, matching: Tensor) -> Tensor:
    """The node part of one matching in a sparse tensor, and what is left alone."""
    rows, columns = matching.indices()
    if isinstance(problem.scores, Factors):
        values = problem.scores.to(torch.float64).pairs(rows, columns)
    elif problem.scores.is_table:
        values = problem.scores.node[rows, columns].double()
    else:
        listed = problem.scores.node.to_sparse_coo().double()  # type: ignore[no-untyped-call]
        values = (listed * matching.double()).coalesce().values()
    total = values.sum()
    if problem.unmatched is None:
        return total
    alone = zip(problem.alone(), (problem.real1(), problem.real2()), (rows, columns), strict=True)
    return total + sum((score * real).sum() - score[matched].sum() for score, real, matched in alone)
