"""Sinkhorn rounds on scalings: products with a fixed kernel, which is made anew before anything leaves its range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .potentials import Plan, log_plan, shut

# Rounds between two looks at errors and ranges.
GROUP = 4
# Above this a digit of z in float32 is worth so much that potentials lose their meaning.
LARGEST_SINGLE = 1e6


def scaled_plan(z: Tensor, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> Plan:
    r"""The plan of `log_plan`, several times faster and without a gradient.

    With $K = \exp(z + f + g)$ a round is $u = a / K v$, $v = b / K^\top u$. Potentials start such that the largest
    entry of every row and column of $K$ is one. A round multiplies a scaling by $n$ at most, so a look at $u$ and $v$
    every few rounds is enough: those beyond `_limit` are absorbed, $f \leftarrow f + \log u$,
    $g \leftarrow g + \log v$, and $K$ is made anew. What a problem gets does not depend on its batch: when it is
    absorbed and when it stops are decided by itself alone.

    Problems whose numbers are beyond this (single precision at $|z| > 10^6$) are solved by `log_plan` in float64.

    Cost: one exponential and `2 rounds` products, or some more exponentials at low temperatures; memory for two or
    three matrices like `z`.
    """
    batch, n, m = z.shape[:-2], *z.shape[-2:]
    z, a, b, g = z.reshape(-1, n, m), a.reshape(-1, n), b.reshape(-1, m), g.reshape(-1, m)
    found = _scaled(z, a, b, g, rounds, tol)
    fine = found.value.sum((-2, -1)).isfinite()
    if z.dtype != torch.float64:
        fine &= z.abs().amax((-2, -1)) <= LARGEST_SINGLE
    if not bool(fine.all()):
        wrong = (~fine).nonzero()[:, 0]
        again = log_plan(*(x[wrong].double() for x in (z, a, b, g)), rounds, tol)
        for whole, part in zip(found, again, strict=True):
            whole[wrong] = part.to(whole.dtype)
    return Plan(*(x.reshape(*batch, *x.shape[1:]) for x in found))


def _scaled(z: Tensor, a: Tensor, b: Tensor, g: Tensor, rounds: int, tol: float) -> Plan:
    f = shut(-(z + g[:, None, :]).amax(-1), a)
    base = shut(-(z + f[:, :, None]).amax(-2), b)
    v, g = (g - base).clamp_min(_floor(z.dtype)).exp(), base
    plan, items = torch.empty_like(z), torch.arange(len(z), device=z.device)
    # The first group takes the odd rounds, so that whole groups are left wherever a problem pauses.
    steps, left = (rounds - 1) % GROUP + 1, torch.full_like(items, math.ceil(rounds / GROUP))
    while len(items):
        some = (lambda x: x) if len(items) == len(z) else (lambda x, at=items: x[at])
        kernel = _kernel(some(z), some(f), some(g))
        u, v, left = _stage(kernel, some(a), some(b), v, steps, left, tol)
        kernel.mul_(u[:, :, None]).mul_(v[:, None, :])
        f[items], g[items] = some(f) + _log(u), some(g) + _log(v)
        if len(items) == len(z):
            plan = kernel
        else:
            plan[items] = kernel
        paused = left > 0
        items, v, left, steps = items[paused], torch.ones_like(v[paused]), left[paused], GROUP
    return Plan(plan, shut(f, a), shut(g, b))


def _stage(
    kernel: Tensor, a: Tensor, b: Tensor, v: Tensor, steps: int, left: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rounds with one kernel until every problem has stopped: `u`, `v` and the groups of rounds still open for it."""
    found = torch.empty_like(a), torch.empty_like(b), torch.empty_like(left)
    items, running = torch.arange(len(a), device=a.device), torch.ones_like(left, dtype=torch.bool)
    rows = _times(kernel.mT, v)
    while True:
        for _ in range(steps):
            u = a / rows
            v = b / _times(kernel, u)
            rows = _times(kernel.mT, v)
        left, steps = left - 1, GROUP
        stop, open_ = _stop(a, u, v, rows, left, tol)
        now = stop & running
        if bool(now.any()):
            for whole, part in zip(found, (u, v, torch.where(open_, left, 0)), strict=True):
                whole[items[now]] = part[now]
            running = running & ~now
            going = int(running.sum())
            if going == 0:
                return found
            if 2 * going <= len(items):
                kernel, a, b, rows, left, items, running = (
                    x[running] for x in (kernel, a, b, rows, left, items, running)
                )


def _stop(a: Tensor, u: Tensor, v: Tensor, rows: Tensor, left: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Which problems stop here, and which of these are to go on with another kernel."""
    far = torch.maximum(u.amax(-1), v.amax(-1)) > _limit(u.dtype)
    over = left == 0
    if tol > 0:
        over = over | (((u * rows - a).abs() / a.clamp_min(1)).amax(-1) <= tol)
    return far | over, far & ~over


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """Returns $x^\\top M$, `(B, m)`, as the product that each kind of device does best and in full precision."""
    if x.device.type == "cpu":
        return torch.bmm(x[:, None, :], matrix)[:, 0]
    return torch.linalg.vecdot(matrix, x[:, :, None], dim=-2)


def _kernel(z: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """$\\exp(z + f + g)$, not below what counts: exponentials that are barely not zero take many times longer."""
    return torch.add(z, f[:, :, None]).add_(g[:, None, :]).clamp_min_(_floor(z.dtype)).exp_()


def _log(scaling: Tensor) -> Tensor:
    return torch.where(scaling > 0, scaling, 1.0).log()


def _floor(dtype: torch.dtype) -> float:
    return -600.0 if dtype == torch.float64 else -70.0


def _limit(dtype: torch.dtype) -> float:
    """The largest scaling: its square times the kernel's floor is still nothing beside a mass of one."""
    return 1e60 if dtype == torch.float64 else 1e6
