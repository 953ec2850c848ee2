r"""Sums over pairs of edges, $q(X) = \sum_{ef} K_{ef} X_{s_e s_f} X_{t_e t_f}$, with $K$ a table or $P Q^\top$."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2**18  # pairs of edges that are handled at once, so that they stay in the cache


def table_gradient(edge: Tensor, edges1: Tensor, edges2: Tensor, x: Tensor) -> Tensor:
    r"""Return $\partial q / \partial X$ at `x` `(n, m)` of a table $K$ `(e, f)`, in time and memory of the table."""
    total, step = torch.zeros_like(x), max(1, BLOCK // max(1, edge.shape[-1]))
    for here, there in ((0, 1), (1, 0)):
        rows, near = x.new_zeros(len(x), edge.shape[-1]), x.index_select(1, edges2[there])
        for block in (slice(k, k + step) for k in range(0, len(edge), step)):
            terms = near.index_select(0, edges1[there, block]).mul_(edge[block])
            rows.index_add_(0, edges1[here, block], terms)
        total.index_add_(1, edges2[here], rows)
    return total


def product_gradient(first: Tensor, second: Tensor, edges1: Tensor, edges2: Tensor, x: Tensor) -> Tensor:
    r"""Return $\sum_r A_r X B_r^\top + A_r^\top X B_r$ at `x` `(n, m)`, with $A_r$ and $B_r$ made of the factors."""
    n, m = x.shape
    total = torch.zeros_like(x)
    for r in range(first.shape[-1]):
        a, b = adjacency(edges1, first[:, r], n), adjacency(edges2, second[:, r], m)
        total += a @ (b @ x.mT).mT + a.mT @ (b.mT @ x.mT).mT
    return total


def adjacency(edges: Tensor, weights: Tensor, nodes: int) -> Tensor:
    """Return the matrix `(nodes, nodes)` of weighted edges, dense where most pairs are edges; equal edges add up."""
    if 8 * edges.shape[-1] < nodes * nodes:
        return torch.sparse_coo_tensor(edges, weights, (nodes, nodes), check_invariants=False).coalesce()
    return weights.new_zeros(nodes, nodes).index_put((edges[0], edges[1]), weights, accumulate=True)


def product_sums(x: Tensor, edges1: Tensor, edges2: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return $Y Q$ `(e, r)` and $Y^\top P$ `(f, r)` of $Y_{ef} = X_{s_e s_f} X_{t_e t_f}$, without writing $Y$ out.

    Args:
        x: $X$, `(n, m)`; the results are differentiable in it.
        edges1: Long `(2, e)`.
        edges2: Long `(2, f)`.
        first: $P$, `(e, r)`.
        second: $Q$, `(f, r)`.
    """
    if not x.requires_grad and bool(((x == 0) | (x == 1)).all()):
        rows, cols = x.nonzero(as_tuple=True)
        return matched_sums(rows, cols, x.shape, edges1, edges2, first, second)
    n, m = x.shape
    through = [_between(x, adjacency(edges2, q, m), edges1) for q in second.unbind(-1)]
    back = [_between(x.mT, adjacency(edges1, p, n), edges2) for p in first.unbind(-1)]
    return torch.stack(through, -1), torch.stack(back, -1)


def matched_sums(
    rows: Tensor, cols: Tensor, shape: torch.Size, edges1: Tensor, edges2: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `product_sums` does at the matching of the pairs (rows, cols)."""
    through = _sums_at(rows, cols, shape, edges1, edges2, second)
    return through, _sums_at(cols, rows, shape[::-1], edges2, edges1, first)


def _between(x: Tensor, matrix: Tensor, edges: Tensor) -> Tensor:
    """The entries of $X M X^\\top$ at edges."""
    return ((matrix.mT @ x.mT).mT @ x.mT)[edges[0], edges[1]]


def _sums_at(rows: Tensor, cols: Tensor, shape: torch.Size, edges1: Tensor, edges2: Tensor, factor: Tensor) -> Tensor:
    """For each edge of the first graph the weights `(e, r)` of the second graph's edge that it is matched with."""
    n, m = shape
    partner = torch.full((n,), -1, device=rows.device).index_copy(0, rows, cols)
    if 8 * edges2.shape[-1] >= m * m:
        source, target = partner[edges1]
        matched = (source >= 0) & (target >= 0)
        entries = [adjacency(edges2, weights, m)[source, target] for weights in factor.unbind(-1)]
        return torch.stack([torch.where(matched, x, 0.0) for x in entries], -1)
    places, owner = torch.unique(edges2[0] * m + edges2[1], return_inverse=True)
    weights = factor.new_zeros(len(places), factor.shape[-1]).index_add(0, owner, factor)
    source, target = partner[edges1]
    wanted = torch.where((source >= 0) & (target >= 0), source * m + target, -1)
    if not len(places):
        return factor.new_zeros(edges1.shape[-1], factor.shape[-1])
    found = torch.searchsorted(places, wanted).clamp_max(len(places) - 1)
    return torch.where((places[found] == wanted)[:, None], weights[found], 0.0)
