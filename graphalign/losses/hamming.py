"""The Hamming distance between a matching and its target."""

from __future__ import annotations

import torch
from torch import Tensor

from ..arguments import check_tensor


def hamming(matching: Tensor, target: Tensor) -> Tensor:
    r"""Returns the distance to the nearest correct matching, per row of the matching.

    $$L(X, T) = \frac1n \sum_i \Bigl( \sum_a X_{ia} (1 - T_{ia}) + \mathbb 1[\textstyle\sum_a T_{ia} > 0]
      - \sum_a X_{ia} T_{ia} \Bigr)$$

    $T_{ia} = 1$ says that node $i$ may be matched with node $a$. Where each row of $T$ has at most one such entry,
    this is the ordinary Hamming distance $\frac1n \sum X (1 - T) + (1 - X) T$. Where the rows of $T$ are those of a
    partition into interchangeable nodes and $X$ is a permutation with $k$ pairs inside their groups, those $k$ pairs
    extend to a permutation inside the groups, so the nearest correct matching is $2 (n - k)$ entries away, and that is
    $n L$. 0 is a correct matching, 2 a wrong one in all rows; $L$ is linear in $X$.

    Cost: one product of two matrices, entry by entry.

    Args:
        matching: $X$, `(*b, n, m)`.
        target: $T$, 0/1, `(*b, n, m)`, broadcast.

    Returns:
        The distances `(*b)`.

    Raises:
        ValueError: The target has not the last two dimensions of the matching.

    Example: the first row is right; the other two are wrong, unless their nodes are interchangeable.

        >>> import torch
        >>> from graphalign import hamming
        >>> matching = torch.eye(3)[[0, 2, 1]]
        >>> hamming(matching, torch.eye(3))
        tensor(1.3333)
        >>> hamming(matching, torch.block_diag(torch.ones(1, 1), torch.ones(2, 2)))
        tensor(0.)
    """
    check_target(matching.shape, target)
    correct = (matching * target).sum(-1)
    wrong = matching.sum(-1) - correct
    return (wrong + target.any(-1).to(matching) - correct).mean(-1)


def check_target(shape: torch.Size, target: Tensor) -> None:
    """Raises for a target that is no 0/1 matrix of the shape of the matching, such as the column of each row.

    Args:
        shape: `(*b, n, m)`.
        target: $T$.

    Raises:
        TypeError: It is no tensor.
        ValueError: It has not the last two dimensions, or other leading ones.

    Example:
        >>> check_target(torch.Size([4, 3, 3]), torch.eye(3))
    """
    check_tensor("`target`", target)
    leading = zip(reversed(target.shape[:-2]), reversed(shape[:-2]), strict=False)
    if target.shape[-2:] != shape[-2:] or target.dim() > len(shape) or any(a not in (1, b) for a, b in leading):
        raise ValueError(
            f"`target` needs the last two dimensions {tuple(shape[-2:])} of the matching {tuple(shape)}, as a 0/1 "
            f"matrix; got the shape {tuple(target.shape)}. Of the column of each row it is "
            f"torch.nn.functional.one_hot(columns, {shape[-1]})."
        )


def correspondence(n: int, groups: Tensor | None, like: Tensor) -> Tensor:
    """Returns the target `(n, n)` of samples that stand in one order on both sides.

    Args:
        n: Number of samples.
        groups: Long `(n)`: samples with equal labels are interchangeable; None if no two are.
        like: A tensor that gives dtype and device.

    Raises:
        TypeError: `groups` is no tensor of whole numbers.
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
        raise ValueError(f"`groups` needs one label for each of the {n} samples; got the shape {tuple(groups.shape)}.")
    if groups.is_floating_point() or groups.dtype == torch.bool:
        raise TypeError(f"`groups` must hold whole numbers, e.g. torch.long; got {groups.dtype}.")
    labels = groups.to(like.device)
    return (labels[:, None] == labels).to(like)
