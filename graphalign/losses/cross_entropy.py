"""The cross-entropy of a relaxed matching with its target."""

from __future__ import annotations

from torch import Tensor

from .hamming import check_target

# Mass that counts as none: below it the loss stops to grow.
FLOOR = 1e-6


def cross_entropy(matching: Tensor, target: Tensor) -> Tensor:
    r"""Returns the mean negative logarithm of the mass on correct pairs.

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
