"""How far apart the nodes of a graph are, and which of them are real."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_tensor


def distances(x: Tensor, metric: str) -> Tensor:
    """Return the distances `(*b, n, n)` of nodes `(*b, n, d)`, in at least float32 and without a gradient.

    With `cosine`, those of the directions, $\\sqrt{2 - 2\\cos}$; a zero vector has the cosine 0 with every other.

    Args:
        x: Node features.
        metric: `euclidean` or `cosine`.

    Example:
        >>> distances(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "euclidean")
        tensor([[0., 5.],
                [5., 0.]])
    """
    points = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    if metric == "euclidean":
        return _euclidean(points)
    zero = (points == 0).all(-1)
    none = zero[..., :, None] | zero[..., None, :]
    return _euclidean(F.normalize(points, dim=-1)).masked_fill(none, math.sqrt(2))


def between_others(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return bool `(*b, n, n)`: the pairs of two different nodes, real ones where there is a mask.

    Args:
        x: Node features `(*b, n, d)`.
        mask: Bool `(*b, n)`, True at real nodes; None if all are.

    Example:
        >>> between_others(torch.zeros(3, 1), torch.tensor([True, True, False]))
        tensor([[False,  True, False],
                [ True, False, False],
                [False, False, False]])
    """
    pairs = ~torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)
    if mask is None:
        return pairs.expand(*x.shape[:-1], x.shape[-2])
    return pairs & mask[..., :, None] & mask[..., None, :]


def real_nodes(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the features with zeros at padded nodes, where they could hold anything, and the mask `(*b, n)`.

    Args:
        x: Node features `(*b, n, d)`.
        mask: Bool, True at real nodes, `(*b, n)` or broadcast; None if all are.

    Raises:
        TypeError: The features are not a floating tensor, or the mask is not boolean.
        ValueError: The mask does not fit the nodes.

    Example:
        >>> real_nodes(torch.tensor([[1.0], [torch.nan]]), torch.tensor([True, False]))
        (tensor([[1.],
                [0.]]), tensor([ True, False]))
    """
    check_tensor("node features", x)
    if not x.is_floating_point():
        raise TypeError(f"node features need a floating dtype, not {x.dtype}; convert them, e.g. with .float()")
    if mask is None:
        return x, None
    check_tensor("the mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"the mask must be boolean, True at real nodes; got {mask.dtype}")
    shape = x.shape[:-1]
    if mask.dim() > len(shape) or any(a not in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"the mask must fit the nodes {tuple(shape)}; got {tuple(mask.shape)}")
    mask = mask.expand(shape)
    return torch.where(mask[..., None], x, 0.0), mask


def _euclidean(points: Tensor) -> Tensor:
    # The matrix-product formula of cdist loses the small distances that decide who is nearest.
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
