"""The target of a matching: which pairs are correct."""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments import check_tensor


def check_target(shape: torch.Size, target: Tensor) -> None:
    """Raise for a target that is not a 0/1 matrix of the shape of the matching, such as the column of each row.

    Args:
        shape: `(*b, n, m)`.
        target: $T$.

    Raises:
        TypeError: It is not a tensor.
        ValueError: It has not the last two dimensions, or other leading ones.

    Example:
        >>> check_target(torch.Size([4, 3, 3]), torch.eye(3))
    """
    check_tensor("`target`", target)
    leading = zip(reversed(target.shape[:-2]), reversed(shape[:-2]), strict=False)
    if target.shape[-2:] != shape[-2:] or target.dim() > len(shape) or any(a not in (1, b) for a, b in leading):
        raise ValueError(
            f"`target` needs the last two dimensions {tuple(shape[-2:])} of the matching {tuple(shape)}, as a 0/1 "
            f"matrix; got the shape {tuple(target.shape)}; of the column of each row it is "
            f"torch.nn.functional.one_hot(columns, {shape[-1]})"
        )


def correspondence(n: int, groups: Tensor | None, like: Tensor) -> Tensor:
    """Return the target `(n, n)` of samples in the same order on both sides.

    Args:
        n: Number of samples.
        groups: Long `(n)`: samples with equal labels are interchangeable; None if no two are.
        like: A tensor that gives dtype and device.

    Raises:
        TypeError: `groups` is not an integer tensor.
        ValueError: `groups` is not of shape `(n,)`.

    Example:
        >>> import torch
        >>> correspondence(3, torch.tensor([4, 4, 7]), torch.zeros(()))
        tensor([[1., 1., 0.],
                [1., 1., 0.],
                [0., 0., 1.]])
    """
    if groups is None:
        return torch.eye(n, dtype=like.dtype, device=like.device)
    check_tensor("`groups`", groups)
    if tuple(groups.shape) != (n,):
        raise ValueError(f"`groups` needs one label for each of the {n} samples; got the shape {tuple(groups.shape)}")
    if groups.is_floating_point() or groups.dtype == torch.bool:
        raise TypeError(f"`groups` must hold whole numbers, e.g. torch.long; got {groups.dtype}")
    labels = groups.to(like.device)
    return (labels[:, None] == labels).to(like)
