"""Losses on the matching, called as `loss(matching, target)`."""

from __future__ import annotations

from torch import Tensor

from ..targets import check_target

# Mass that counts as none: below it the loss stops to grow.
FLOOR = 1e-6


def hamming(matching: Tensor, target: Tensor) -> Tensor:
    r"""Return the distance to the nearest correct matching, per row of the matching.

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


def cross_entropy(matching: Tensor, target: Tensor) -> Tensor:
    r"""Return the mean negative logarithm of the mass on correct pairs.

    $$L(X, T) = -\frac1n \sum_i \log \frac{\delta + \sum_a X_{ia} T_{ia}}{\delta + 1}, \qquad \delta = 10^{-6}$$

    With interchangeable nodes it is the mass of the whole group that counts. 0 where all mass is correct, and
    $\log(1 + 1/\delta) \approx 13.8$ at most, with a gradient of at most $1 / (n \delta)$.

    When to use it: with relaxed matchings, e.g. those of `sinkhorn`, or the mean of many samples. Discrete ones have
    rows without any correct mass, whose gradient is the largest that there is; `hamming` treats all rows alike.

    Cost: one product of two matrices, entry by entry.

    Args:
        matching: $X$, `(*b, n, m)`, not negative.
        target: $T$, 0/1, `(*b, n, m)`, broadcast; a row without a correct pair counts as one without mass.

    Returns:
        The losses `(*b)`.

    Raises:
        ValueError: The target has not the last two dimensions of the matching.

    Example:
        >>> import torch
        >>> from graphalign import cross_entropy
        >>> cross_entropy(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.eye(2))
        tensor(0.3466)
    """
    check_target(matching.shape, target)
    mass = (matching * target).sum(-1)
    return -((mass + FLOOR) / (1 + FLOOR)).log().mean(-1)
