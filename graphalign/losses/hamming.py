"""The Hamming distance between a matching and its target."""

from __future__ import annotations

import torch
from torch import Tensor


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

    Example: the first row is right; the other two are wrong, unless their nodes are interchangeable.

        >>> import torch
        >>> from graphalign import hamming
        >>> matching = torch.eye(3)[[0, 2, 1]]
        >>> hamming(matching, torch.eye(3))
        tensor(1.3333)
        >>> hamming(matching, torch.block_diag(torch.ones(1, 1), torch.ones(2, 2)))
        tensor(0.)
    """
    correct = (matching * target).sum(-1)
    wrong = matching.sum(-1) - correct
    return (wrong + target.any(-1).to(matching) - correct).mean(-1)


def correspondence(n: int, groups: Tensor | None, like: Tensor) -> Tensor:
    """Returns the target `(n, n)` of samples that stand in one order on both sides.

    Args:
        n: Number of samples.
        groups: Long `(n)`: samples with equal labels are interchangeable; None if no two are.
        like: A tensor that gives dtype and device.

    Raises:
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
    if tuple(groups.shape) != (n,):
        raise ValueError(f"`groups` needs one label for each of the {n} samples; got the shape {tuple(groups.shape)}.")
    labels = groups.to(like.device)
    return (labels[:, None] == labels).to(like)
