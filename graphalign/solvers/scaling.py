"""Sinkhorn rounds on scalings: products with a fixed kernel, computed again before anything leaves its range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .potentials import LOG_ZERO, Plan, log_plan, shut

# Rounds between two looks at errors and ranges.
GROUP = 4
# Above this a digit of z in float32 is worth so much that potentials lose their meaning.
LARGEST_SINGLE = 1e6


def scaled_plan(z: Tensor, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> Plan:
    r"""The plan of `log_plan`, several times faster and without a gradient.

    With $K = \exp(z + f + g)$ a round is $u = a / K v$, $v = b / K^\top u$. Potentials start such that the largest
    entry of every row and column of $K$ is one. A round multiplies a scaling by $n$ at most, so a look at $u$ and $v$
    every few rounds is enough: those beyond `_limit` are absorbed, $f \leftarrow f + \log u$,
    $g \leftarrow g + \log v$, and $K$ is computed again. A problem's result does not depend on its batch: when it is
    absorbed and when it stops are decided by itself alone.

    Problems whose numbers are beyond this (single precision at $|z| > 10^6$) are solved by `log_plan` in float64.

    Cost: one exponential and `2 rounds` products, or some more exponentials at low temperatures; memory for two or
    three matrices like `z`.
    """
    batch, n, m = z.shape[:-2], *z.shape[-2:]
    z, a, b, g = z.reshape(-1, n, m), a.reshape(-1, n), b.reshape(-1, m), g.reshape(-1, m)
    found = _scaled(z, a, b, g, rounds, tol)
    wrong = (~_fine(z, found.value)).nonzero()[:, 0]
    if len(wrong):
        z, a, b, g = (x[wrong].double() for x in (z, a, b, g))
        _insert(found, wrong, log_plan(z, a, b, g, rounds, tol))
    return Plan(*(x.reshape(*batch, *x.shape[1:]) for x in found))


def _scaled(z: Tensor, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> Plan:
    f = shut(-(z + g[:, None, :]).amax(-1), a)
    base = shut(-(z + f[:, :, None]).amax(-2), b)
    v = (g - base).clamp_min(_floor(z.dtype)).exp()
    left = torch.full((len(z),), math.ceil(rounds / GROUP), device=z.device)
    # The first group takes the odd rounds, so that whole groups are left wherever a problem pauses.
    found, left = _stage(z, a, b, f, base, v, left, (rounds - 1) % GROUP + 1, tol)
    while len(items := left.nonzero()[:, 0]):
        z_, a_, b_, f_, g_ = (x[items] for x in (z, a, b, found.f, found.g))
        part, left[items] = _stage(z_, a_, b_, f_, g_, torch.ones_like(b_), left[items], GROUP, tol)
        _insert(found, items, part)
    return found


def _stage(
    z: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, v: Tensor, left: Tensor, steps: int, tol: float
) -> tuple[Plan, Tensor]:
    """Rounds with one kernel: what was reached, and how many groups of rounds each problem still has open."""
    kernel = _kernel(z, f, g)
    u, v, left = _rounds(kernel, a, b, v, left, steps, tol)
    return Plan(kernel.mul_(u[:, :, None]).mul_(v[:, None, :]), f + _log(u, a), g + _log(v, b)), left


def _rounds(
    kernel: Tensor, a: Tensor, b: Tensor, v: Tensor, left: Tensor, steps: int, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rounds until every problem has stopped: `u`, `v` and open groups of each, as they were when it did."""
    found = torch.empty_like(a), torch.empty_like(b), torch.empty_like(left)
    items, running = torch.arange(len(a), device=a.device), torch.ones_like(left, dtype=torch.bool)
    transposed = _transposed(kernel)
    rows = times(transposed, v)
    while True:
        for _ in range(steps):
            u = a / rows
            v = b / times(kernel, u)
            rows = times(transposed, v)
        left, steps = left - 1, GROUP
        stop, open_ = _stop(a, u, v, rows, left, tol)
        if len(items) and not bool(stop.any()):
            continue
        now, running = stop & running, running & ~stop
        _insert(found, items[now], (u[now], v[now], (left * open_)[now]))
        going = int(running.sum())
        if going == 0:
            return found
        if 2 * going <= len(items):
            kernel, a, b, rows, left, items = (x[running] for x in (kernel, a, b, rows, left, items))
            running, transposed = running[running], _transposed(kernel)


def _stop(a: Tensor, u: Tensor, v: Tensor, rows: Tensor, left: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Which problems stop here, and which of these are to continue with another kernel."""
    far = torch.maximum(u.amax(-1), v.amax(-1)) > _limit(u.dtype)
    over = left == 0
    if tol > 0:
        over = over | (((u * rows - a).abs() / a.clamp_min(1)).amax(-1) <= tol)
    return far | over, far & ~over


def _insert(whole: tuple[Tensor, ...], items: Tensor, part: tuple[Tensor, ...]) -> None:
    for x, y in zip(whole, part, strict=True):
        x[items] = y.to(x.dtype)


def _fine(z: Tensor, plan: Tensor) -> Tensor:
    """Which problems came out finite, of scores that leave room for potentials."""
    fine = plan.sum((-2, -1)).isfinite()
    if z.dtype == torch.float64:
        return fine
    if bool((z.amin((-2, -1)) <= LOG_ZERO).any()):  # forbidden pairs have no potentials to leave room for
        z = z.masked_fill(z <= LOG_ZERO, 0.0)
    return fine & (z.amax((-2, -1)) <= LARGEST_SINGLE) & (z.amin((-2, -1)) >= -LARGEST_SINGLE)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """Return $x^\\top M$, `(B, m)`, as the product that is fast and of full precision on the device.

    The matrix product is fast in this orientation only, with $M$ a view or not, and not for small matrices; on other
    devices it may be set to few digits.
    """
    product: Tensor
    if _small(matrix) or x.device.type != "cpu":
        product = torch.linalg.vecdot(matrix, x[:, :, None], dim=-2)
    else:
        product = torch.bmm(x[:, None, :], matrix)[:, 0]
    return product


def _transposed(matrix: Tensor) -> Tensor:
    return matrix.mT.contiguous() if _small(matrix) else matrix.mT


def _small(matrix: Tensor) -> bool:
    return matrix.shape[-2] * matrix.shape[-1] < 400


def _kernel(z: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """$\\exp(z + f + g)$, not below what counts: exponentials that are barely not zero take many times longer."""
    return torch.add(z, f[:, :, None]).add_(g[:, None, :]).clamp_min_(_floor(z.dtype)).exp_()


def _log(scaling: Tensor, mass: Tensor) -> Tensor:
    return torch.where(mass > 0, scaling, 1.0).log()


def _floor(dtype: torch.dtype) -> float:
    return -600.0 if dtype == torch.float64 else -70.0


def _limit(dtype: torch.dtype) -> float:
    """The largest scaling: its square times the kernel's floor is still nothing beside a mass of one."""
    return 1e60 if dtype == torch.float64 else 1e10
