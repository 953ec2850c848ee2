"""Bounded losses of the mass on correct partners, for training on pairs of which some are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..arguments import check_share
from ..targets import check_target
from .on_matchings import FLOOR


@runtime_checkable
class Bounded(Protocol):
    """A loss of the mass on correct partners, of matchings or of the logarithms of a softmax."""

    on_matchings: ClassVar[bool]

    def __call__(self, matching: Tensor, target: Tensor) -> Tensor: ...

    def of_logarithms(self, log_mass: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class MAE:
    r"""The mean absolute error of the mass on correct partners: bounded, so that wrong pairs cannot dominate.

    $$L = \frac1n \sum_i 1 - p_i, \qquad p_i = \sum_a X_{ia} T_{ia}$$

    where $X$ is a relaxed matching or, in `InfoNCE`, the softmax over partners. For rows that sum to one it is half of
    $\sum_a |X_{ia} - T_{ia}|$, and half of the Hamming distance. It lies in $[0, 1]$, and its gradient with respect to
    $p_i$ is constant: a pair that the model finds improbable weighs no more than any other, whereas the cross-entropy
    gives it the weight $1 / p_i$. Label noise that is uniform over the wrong classes does not move its minimum.

    When to use it: as `InfoNCE(criterion="mae")`, or on the matchings of `sinkhorn` with `implicit`, where a
    considerable share of the pairs is wrong. With clean pairs the cross-entropy learns faster.

    Cost: one product of two matrices, entry by entry.

    Attributes:
        on_matchings: True: called as `loss(matching, target)`, with `(*b, n, m)` and 0/1 `(*b, n, m)`, broadcast; it
            returns the losses `(*b)`.

    Raises:
        ValueError: The target has not the last two dimensions of the matching.

    Example:
        >>> import torch
        >>> from graphalign import MAE, InfoNCE
        >>> MAE()(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.eye(2))
        tensor(0.2500)
        >>> round(InfoNCE(criterion="mae")({"a": torch.eye(3), "b": torch.eye(3).roll(1, 0)}).loss.item(), 4)
        1.0

    References:
        Ghosh, Kumar and Sastry, "Robust loss functions under label noise for deep neural networks", AAAI 2017; Zhang
        and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels", NeurIPS
        2018, section 3.1.
    """

    on_matchings: ClassVar[bool] = True

    def __call__(self, matching: Tensor, target: Tensor) -> Tensor:
        return (1 - _mass(matching, target)).mean(-1)

    def of_logarithms(self, log_mass: Tensor) -> Tensor:
        """Return the losses `(*b, n)` of rows from the logarithm of their mass on correct partners."""
        return -torch.expm1(log_mass)


@dataclass(frozen=True)
class GCE:
    r"""Generalised cross-entropy: between the cross-entropy ($q \to 0$) and the mean absolute error ($q = 1$).

    $$L = \frac1n \sum_i \frac{1 - p_i^q}{q}, \qquad p_i = \sum_a X_{ia} T_{ia}$$

    where $X$ is a relaxed matching or, in `InfoNCE`, the softmax over partners. It lies in $[0, 1 / q]$, and a pair
    weighs $p_i^{q - 1}$: less than with the cross-entropy where the model finds it improbable, more than with `MAE`,
    which learns slowly at first. On matchings $p_i$ becomes $p_i + 10^{-6}$, and $1$ becomes $1 + 10^{-6}$, so that the
    gradient is finite where there is no correct mass, as in `cross_entropy`.

    When to use it: as `MAE`, where that is too slow to learn.

    Cost: one product of two matrices, entry by entry.

    Args:
        q: $q$, above 0 and at most 1; the paper takes 0.7.

    Attributes:
        on_matchings: True: called as `loss(matching, target)`, with `(*b, n, m)`, not negative, and 0/1 `(*b, n, m)`,
            broadcast; it returns the losses `(*b)`.

    Raises:
        ValueError: `q` is outside of its range, or the target has not the last two dimensions of the matching.

    Example:
        >>> import torch
        >>> from graphalign import GCE, MAE, cross_entropy
        >>> matching = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
        >>> GCE(q=1.0)(matching, torch.eye(2)), MAE()(matching, torch.eye(2))
        (tensor(0.2500), tensor(0.2500))
        >>> GCE(q=1e-6)(matching, torch.eye(2)), cross_entropy(matching, torch.eye(2))
        (tensor(0.3466), tensor(0.3466))

    References:
        Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
        NeurIPS 2018, eq. 5 and 6.
    """

    q: float = 0.7

    on_matchings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share(self, "q")

    def __call__(self, matching: Tensor, target: Tensor) -> Tensor:
        powers = torch.expm1(self.q * (_mass(matching, target) + FLOOR).log())  # less one
        return (math.expm1(self.q * math.log1p(FLOOR)) - powers).mean(-1) / self.q

    def of_logarithms(self, log_mass: Tensor) -> Tensor:
        """Return the losses `(*b, n)` of rows from the logarithm of their mass on correct partners."""
        return -torch.expm1(self.q * log_mass) / self.q


def _mass(matching: Tensor, target: Tensor) -> Tensor:
    """The mass on correct partners of each row, `(*b, n)`."""
    check_target(matching.shape, target)
    return (matching * target).sum(-1)
