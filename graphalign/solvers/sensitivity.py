"""How a plan with fixed sums answers to its scores: the linear system behind the implicit gradient of Sinkhorn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .scaling import times

# Up to so many columns one factorisation is faster than conjugate gradients.
LARGEST_FACTOR = 512
MOST_STEPS = 100

#: From right-hand sides `(B, m)`, and sizes `(B, 1)` whose last digits are noise, to solutions `(B, m)` and bool `(B)`,
#: whether they are one.
Solve = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def plan_vjp(plan: Tensor, grad: Tensor) -> Tensor:
    r"""Return $X \odot (G - \alpha\mathbf 1^\top - \mathbf 1\beta^\top)$ with rows and columns that sum to zero.

    The rows give $\alpha$; what is left for $\beta$ is $L\beta = (X \odot (G - \alpha\mathbf 1^\top))^\top \mathbf 1$
    with $L = \mathrm{diag}(c) - X^\top \mathrm{diag}(r)^{-1} X$, where $r$ and $c$ are the sums of $X$. $L$ is the
    Laplacian of a graph on the columns: its null vector is $\mathbf 1$, one for each block of a plan that falls apart,
    and no pair of the plan sees it.

    Args:
        plan: $X$, `(*b, n, m)`, not negative.
        grad: $G$, `(*b, n, m)`.
    """
    n, m = plan.shape[-2:]
    if n < m:
        return plan_vjp(plan.mT, grad.mT).mT
    x, g = plan.reshape(-1, n, m), grad.reshape(-1, n, m)
    out, settled = _respond(x, g, _by_factor if m <= LARGEST_FACTOR else _by_steps)
    rest = (~settled).nonzero()[:, 0]
    if len(rest):
        out[rest] = _respond(x[rest], g[rest], _by_factor)[0]
    return out.reshape(plan.shape)


def _respond(plan: Tensor, grad: Tensor, solver: Callable[[Tensor, Tensor], Solve]) -> tuple[Tensor, Tensor]:
    """The gradient, and for which problems it is one.

    Everything after the first pass works on what rounding left over, and so loses no digits where most cancels.
    """
    r = plan.sum(-1)
    r = torch.where(r > 0, r, 1.0)
    solve = solver(plan, r)
    out = _centre_rows(plan * grad, plan, r)
    size = out.sum(-2).abs().amax(-1, keepdim=True).clamp_min(torch.finfo(plan.dtype).tiny)
    settled = torch.ones(len(plan), dtype=torch.bool, device=plan.device)
    for _ in range(2):
        beta, solved = solve(out.sum(-2), size)
        out = _centre_rows(out.addcmul_(plan, beta[:, None, :], value=-1), plan, r)
        settled &= solved
        if not bool(settled.any()):
            break
    return out, settled


def _centre_rows(out: Tensor, plan: Tensor, r: Tensor) -> Tensor:
    """Take from every row what it sums to, twice: the first time leaves the last digits of what it took away."""
    for _ in range(2):
        out.addcmul_(plan, (out.sum(-1) / r)[:, :, None], value=-1)
    return out


def _by_factor(plan: Tensor, r: Tensor) -> Solve:
    """By the Cholesky factor of $L$; in float64 where the rounding of single precision breaks it."""
    factor, failed = torch.linalg.cholesky_ex(_laplacian(plan, r))
    if bool(failed.any()):
        factor = torch.linalg.cholesky(_laplacian(plan.double(), r.double()))
    settled = torch.ones_like(failed, dtype=torch.bool)
    return lambda rhs, _: (torch.cholesky_solve(rhs[..., None].to(factor), factor)[..., 0].to(rhs), settled)


def _laplacian(plan: Tensor, r: Tensor) -> Tensor:
    """$L$ plus a ridge.

    The diagonal is the sum of the other entries, which is right to the last digit where the difference would cancel. A
    ridge at the last digit of the diagonal makes the factorisation safe. Another one far below, relative to the mass,
    keeps the solution in bounds where columns hold together by less than rounding.
    """
    eps = torch.finfo(plan.dtype).eps
    out = ((plan / r[:, :, None]).mT @ plan).neg_()
    diagonal = out.diagonal(dim1=-2, dim2=-1)
    diagonal.zero_()
    ridged = -out.sum(-1) * (1 + 16 * eps) + 1e-3 * eps * plan.sum(-2)
    diagonal.copy_(torch.where(ridged > 0, ridged, 1.0))
    return out


def _by_steps(plan: Tensor, r: Tensor) -> Solve:
    """By conjugate gradients, each problem to its own tolerance; not settled where they take too many steps."""
    c = plan.sum(-2)
    c = torch.where(c > 0, c, 1.0)
    tiny, eps = torch.finfo(plan.dtype).tiny, torch.finfo(plan.dtype).eps
    noise = (32 * eps) ** 2 / c.amax(-1, keepdim=True)

    def product(x: Tensor, y: Tensor) -> Tensor:
        """Return the inner product of every problem."""
        return (x * y).sum(-1, keepdim=True)

    def solve(rhs: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        x, residual = torch.zeros_like(rhs), rhs / size
        direction, error = residual / c, product(residual, residual / c)
        goal = torch.maximum(eps * error, noise)
        for _ in range(MOST_STEPS):
            if not bool((error > goal).any()):
                break
            image = c * direction - times(plan, times(plan.mT, direction) / r)
            step = torch.where(error > goal, error / product(direction, image).clamp_min(tiny), 0.0)
            x, residual = x + step * direction, residual - step * image
            new = product(residual, residual / c)
            direction, error = residual / c + new / error.clamp_min(tiny) * direction, new
        return x * size, (error <= goal)[:, 0]

    return solve
