"""Sinkhorn rounds on potentials, in the log domain: slower than on scalings, but autograd flows through them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# The logarithm of no mass. Finite, so that no gradient is NaN, and so low that its exponential is exactly zero.
LOG_ZERO = -1e30


class Plan(NamedTuple):
    """A plan $X = \\exp(z + f + g)$ `(*b, n, m)` with its potentials `(*b, n)` and `(*b, m)`."""

    value: Tensor
    f: Tensor
    g: Tensor


def log_plan(z: Tensor, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> Plan:
    """The plan with row sums `a` and column sums `b` after at most `rounds` rounds from the column potential `g`.

    Args:
        z: Scores in units of the temperature, `(*b, n, m)`.
        a: Masses of the rows, `(*b, n)`.
        b: Masses of the columns, `(*b, m)`.
        g: The column potential to begin with.
        rounds: Most rounds, a row and a column update each.
        tol: Error of a row sum, relative to masses above one, at which a problem's rounds stop; 0 for never.
    """
    f = _update(a, z + g[..., None, :], -1)
    g = _update(b, z + f[..., :, None], -2)
    for step in range(1, rounds):
        new_f = _update(a, z + g[..., None, :], -1)
        # The plan of (f, g) has the row sums a * exp(f - new_f), so the error costs no pass of its own.
        error = (a.clamp_max(1) * ((f - new_f).detach().exp() - 1)).abs().amax(-1, keepdim=True)
        done = error <= tol if tol > 0 else torch.zeros_like(error, dtype=torch.bool)
        if step % 4 == 0 and bool(done.all()):
            break
        f = torch.where(done, f, new_f)
        g = torch.where(done, g, _update(b, z + f[..., :, None], -2))
    # Not as exp(z + f + g): a softmax keeps the sums of columns even where the last digit of z is worth more than one.
    return Plan((z + f[..., :, None]).softmax(-2) * b[..., None, :], f, g)


def shut(potential: Tensor, mass: Tensor) -> Tensor:
    """The potential with every node of mass zero shut."""
    return torch.where(mass > 0, potential, LOG_ZERO)


def _update(mass: Tensor, exponents: Tensor, dim: int) -> Tensor:
    """The potential that gives every row (or column) its mass."""
    return shut(mass.clamp_min(1e-30).log() - torch.logsumexp(exponents, dim), mass)
