"""What so few people can say at all: the exact test and interval of a paired difference by sign flips."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEWEST = 6  # people from which on a p below 0.05 is possible: 2 / 2^5 is 0.0625, 2 / 2^6 is 0.031
EXACT = 12  # people up to which the test is made; with 13 its smallest p, 2 / 2^13, is that of 4,000 draws


def sign_flip_p(totals: Array) -> float:
    r"""Two-sided p of the differences `(P,)` of $P$ people: how many of the $2^P$ choices of signs reach their sum.

    Where there is no difference, each person's is as likely to be of the other sign. The smallest p is $2 / 2^P$. Costs
    $P 2^P$ operations.

    References:
        Fisher, "The design of experiments", 1935, section 21.

    Example:
        >>> sign_flip_p(np.array([1.0, 2.0, 1.0, 3.0, 1.0]))
        0.0625
    """
    flipped = (2 * _choices(len(totals)) - 1) @ totals
    reached = np.abs(flipped) >= abs(totals.sum()) * (1 - 1e-9)
    return float(reached.mean())


def sign_flip_interval(totals: Array, counts: Array, level: float = 0.95) -> tuple[float, float]:
    r"""Ends of the interval of all differences that the test does not reject; infinite where it rejects none.

    The means of the $2^P - 1$ sets of people cut the line into $2^P$ parts, each of which holds the true difference as
    often.

    Args:
        totals: `(P,)` sums of the differences of each person.
        counts: `(P,)` numbers of examples behind them.
        level: probability that the interval covers.

    References:
        Hartigan, "Using subsample values as typical values", JASA 1969.
    """
    chosen = _choices(len(totals))[1:]
    means = np.sort((chosen @ totals) / (chosen @ counts))
    left_out = math.floor((1 - level) / 2 * (len(means) + 1) + 1e-9)
    return (float(means[left_out - 1]), float(means[-left_out])) if left_out else (-math.inf, math.inf)


def _choices(people: int) -> Array:
    """All sets of people as rows of 0 and 1, `(2^P, P)`; the first is empty."""
    return (np.arange(2**people)[:, None] >> np.arange(people) & 1).astype(np.float64)
