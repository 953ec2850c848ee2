"""Checks of what a problem is made of: types, shapes, devices, and node indices."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .arguments import check_tensor
from .vector import NodeEdge


def check_wrapped(scores: object) -> None:
    """Raise TypeError unless it is a `NodeEdge` of tensors."""
    if not isinstance(scores, NodeEdge):
        raise TypeError(f"scores must be a NodeEdge, not {type(scores).__name__}, e.g. Problem(NodeEdge(scores))")
    check_tensor("node scores", scores.frame)
    for part in (scores.edge, *(scores.factors or ())):
        if part is not None:
            check_tensor("Edge scores", part)


def check_number(name: str, value: Any) -> None:
    """Raise unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number or None, not {type(value).__name__}, e.g. float(...) of it")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number or None, not {value}")


def check_unmatched(unmatched: Any, batch: torch.Size, sizes: tuple[int, int]) -> None:
    """Raise unless it is None, a number, or a pair of numbers or tensors `(*b, n)` and `(*b, m)`."""
    if unmatched is None:
        return
    if not isinstance(unmatched, tuple):
        check_number("`unmatched`", unmatched)
        return
    if len(unmatched) != 2:
        raise ValueError(f"`unmatched` must be a number or a pair, one entry for each side; got {len(unmatched)}")
    for side, value in enumerate(unmatched):
        name = f"`unmatched[{side}]`"
        if not isinstance(value, Tensor):
            check_number(name, value)
        elif not value.is_floating_point() or value.requires_grad:
            raise TypeError(f"{name} must be a floating tensor without a gradient; got {value.dtype}")
        elif value.dim() < 1 or value.shape[-1] != sizes[side]:
            raise ValueError(f"{name} needs the shape (*batch, {sizes[side]}); got {tuple(value.shape)}")
        else:
            check_batch(name, value.shape[:-1], batch)


def check_mask(name: str, mask: Tensor | None, batch: torch.Size, size: int) -> None:
    """Raise unless it is a boolean mask of `size` nodes or edges, or None."""
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"`{name}` must be boolean, True at what is real; got {mask.dtype}")
    if mask.dim() < 1 or mask.shape[-1] != size:
        raise ValueError(f"`{name}` needs the shape (*batch, {size}) to fit the problem; got {tuple(mask.shape)}")
    check_batch(f"`{name}`", mask.shape[:-1], batch)


def check_forbidden(forbidden: Tensor | None, node: Tensor) -> None:
    """Raise unless it is boolean and fits the node scores."""
    if forbidden is None:
        return
    if forbidden.dtype != torch.bool:
        raise TypeError(f"`forbidden` must be boolean, True at pairs that must not be made; got {forbidden.dtype}")
    shape = tuple(node.shape[-2:])
    if forbidden.dim() < 2 or forbidden.shape[-2:] != shape:
        wanted = f"(*batch, {shape[0]}, {shape[1]})"
        raise ValueError(f"`forbidden` needs the shape {wanted} of the node scores; got {tuple(forbidden.shape)}")
    check_batch("`forbidden`", forbidden.shape[:-2], node.shape[:-2])


def seed_pairs(seeds: Any, device: torch.device) -> Tensor | None:
    """Return seeds as a long tensor `(*b, s, 2)`, or None where there are none."""
    if seeds is None:
        return None
    try:
        pairs = seeds if isinstance(seeds, Tensor) else torch.as_tensor(seeds, device=device)
    except (TypeError, ValueError):  # names, or rows of different lengths
        told = f"`seeds` must hold node indices, pairs (row, column) of whole numbers; got {seeds!r:.80}"
        raise TypeError(told) from None
    if pairs.numel() == 0:
        return None
    if pairs.dtype.is_floating_point or pairs.dtype == torch.bool:
        raise TypeError(f"`seeds` must hold node indices, pairs (row, column); got {pairs.dtype}")
    if pairs.dim() < 2 or pairs.shape[-1] != 2:
        raise ValueError(f"`seeds` needs the shape (*batch, pairs, 2), rows and columns; got {tuple(pairs.shape)}")
    return pairs.long()


def check_seeds(seeds: Tensor | None, possible: Tensor, node: Tensor, forbidden: Tensor | None) -> None:
    """Raise unless seeds are pairs that are possible, bool `(*b, n, m)`, and share no node; on the CPU only.

    The scores of nodes and the forbidden pairs are for the reason of an error.
    """
    if seeds is None:
        return
    batch, (n, m) = possible.shape[:-2], possible.shape[-2:]
    check_batch("`seeds`", seeds.shape[:-2], batch)
    if seeds.device.type != "cpu":
        return
    for item, pairs in enumerate(seeds.expand(*batch, *seeds.shape[-2:]).reshape(-1, *seeds.shape[-2:])):
        real = pairs[(pairs != -1).any(-1)]
        rows, cols = real.T
        outside = (real < 0).any(-1) | (rows >= n) | (cols >= m)
        if outside.any():
            pair = tuple(real[outside][0].tolist())
            raise ValueError(f"`seeds` holds the pair {pair}, and there are {n} rows and {m} columns")
        for what, nodes in (("row", rows), ("column", cols)):
            values, counts = nodes.unique(return_counts=True)
            if (counts > 1).any():
                shared = int(values[counts > 1][0])
                raise ValueError(f"`seeds` fixes the {what} {shared} twice; a node has one partner")
        bad = ~possible.reshape(-1, n, m)[item][rows, cols]
        if bad.any():
            pair = tuple(real[bad][0].tolist())
            raise ValueError(f"`seeds` fixes the pair {pair}, which {_why_not(pair, item, possible, node, forbidden)}")


def _why_not(pair: tuple[int, ...], item: int, possible: Tensor, node: Tensor, forbidden: Tensor | None) -> str:
    """What stands against a pair of one problem of a batch."""
    n, m = possible.shape[-2:]
    if forbidden is not None and bool(forbidden.expand(possible.shape).reshape(-1, n, m)[item][pair]):
        return "is forbidden too: take it out of `seeds` or out of `forbidden`"
    lowest = bool(node.reshape(-1, n, m)[item][pair].isneginf())
    return "has the score -inf, which forbids it" if lowest else "touches a padded node"


def check_listed_seeds(seeds: Tensor, scores: NodeEdge, forbidden: Tensor | None, real: tuple[Tensor, Tensor]) -> None:
    """Raise where a seed beside listed pairs or features is forbidden, not listed, or touches a padded node."""
    pairs = seeds.reshape(-1, 2)
    if seeds.device.type != "cpu" or len(real[0].shape) > 1:
        return
    pairs = pairs[(pairs >= 0).all(-1)]
    rows, cols = pairs.T
    bad = ~(real[0][rows] & real[1][cols])
    if forbidden is not None:
        bad |= _holds(forbidden, pairs) if forbidden.layout != torch.strided else forbidden[rows, cols]
    if scores.frame.layout != torch.strided:
        bad |= ~_holds(scores.frame.detach(), pairs)
    if bad.any():
        pair = tuple(pairs[bad][0].tolist())
        raise ValueError(f"`seeds` fixes the pair {pair}, which is forbidden, not listed, or touches a padded node")


def _holds(x: Tensor, pairs: Tensor) -> Tensor:
    """Which pairs a sparse tensor `(n, m)` has, bool `(s,)`; an entry of False or -inf is none."""
    entries: Tensor = x.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
    kept = entries.values() if x.dtype == torch.bool else ~entries.values().isneginf()
    places, m = entries.indices()[:, kept], x.shape[-1]
    return torch.isin(pairs[:, 0] * m + pairs[:, 1], places[0] * m + places[1])


def edge_counts(scores: NodeEdge) -> tuple[int | None, int | None]:
    """The number of edges in both graphs, by the edge scores; None where there are none."""
    batch = scores.frame.shape[:-2]
    if scores.edge is not None and scores.factors is not None:
        raise ValueError("edge scores are a table `edge` or `factors`, not both")
    if scores.factors is not None:
        p, q = scores.factors
        if p.dim() < 2 or q.dim() < 2 or p.shape[-1] != q.shape[-1]:
            raise ValueError(
                f"the factors of edge scores need the shapes (*batch, e, r) and (*batch, f, r); got {tuple(p.shape)} "
                f"and {tuple(q.shape)}"
            )
        for factor in (p, q):
            check_batch("a factor of the edge scores", factor.shape[:-2], batch)
        return p.shape[-2], q.shape[-2]
    edge = scores.edge
    if edge is None:
        return None, None
    if edge.dim() < 2 or edge.shape[:-2] != batch:
        raise ValueError(
            f"edge scores need the shape (*batch, e, f) with the batch dimensions {tuple(batch)} of the node scores; "
            f"got {tuple(edge.shape)}"
        )
    return edge.shape[-2], edge.shape[-1]


def check_edges(name: str, edges: Tensor | None, batch: torch.Size, size: int | None, nodes: int) -> None:
    """Check the edges of a graph of `nodes` nodes; `size` is how many the edge scores have, if there are any."""
    if edges is None:
        if size is not None:
            raise ValueError(f"edge scores need `{name}`: a long tensor (*batch, 2, {size}) of node indices")
        return
    if edges.dim() < 2 or edges.shape[-2] != 2 or size not in (None, edges.shape[-1]):
        wanted = f"(*batch, 2, {'edges' if size is None else size})"
        raise ValueError(f"`{name}` needs the shape {wanted} to fit the edge scores; got {tuple(edges.shape)}")
    if edges.dtype not in (torch.long, torch.int32):
        raise TypeError(f"`{name}` must hold node indices as torch.long or torch.int32; got {edges.dtype}")
    check_batch(f"`{name}`", edges.shape[:-2], batch)
    # On a GPU this would make the caller wait for all work that was queued before.
    if edges.device.type == "cpu" and edges.numel():
        low, high = (int(x) for x in edges.aminmax())
        if low < 0 or high >= nodes:
            raise ValueError(f"`{name}` must hold node indices from 0 to {nodes - 1}; got indices from {low} to {high}")


def check_edge_mask(name: str, mask: Tensor | None, edges: Tensor | None, batch: torch.Size) -> None:
    """Raise unless it is a mask of the edges that there are, or None."""
    if mask is None:
        return
    if edges is None:
        raise ValueError(f"`{name}` says which edges are real, and there are no edges; give edges{name[-1]} too")
    check_mask(name, mask, batch, edges.shape[-1])


def check_batch(name: str, given: torch.Size, batch: torch.Size) -> None:
    """Refuse batch dimensions that do not broadcast to those of the scores."""
    fits = all(a in (1, b) for a, b in zip(reversed(given), reversed(batch), strict=False))
    if len(given) > len(batch) or not fits:
        raise ValueError(
            f"{name} has the batch dimensions {tuple(given)}, which do not broadcast to {tuple(batch)}, those of the "
            f"node scores"
        )
