"""How a plan with fixed sums answers to its scores: the linear system behind the implicit gradient of Sinkhorn."""

from __future__ import annotations

import torch
from torch import Tensor


def plan_vjp(plan: Tensor, grad: Tensor) -> Tensor:
    r"""Returns $X \odot (G - \alpha\mathbf 1^\top - \mathbf 1\beta^\top)$ with rows and columns that sum to zero.

    The rows give $\alpha$; what is left for $\beta$ is $L\beta = (X \odot (G - \alpha\mathbf 1^\top))^\top \mathbf 1$
    with $L = \mathrm{diag}(c) - X^\top \mathrm{diag}(r)^{-1} X$, where $r$ and $c$ are the sums of $X$. $L$ is the
    Laplacian of a graph on the columns. The second round works on what rounding left over by the first.

    Args:
        plan: $X$, `(*b, n, m)`, not negative.
        grad: $G$, `(*b, n, m)`.
    """
    r = plan.sum(-1, keepdim=True)
    r = torch.where(r > 0, r, 1.0)
    factor = _factor(plan, r)
    out = _centre_rows(plan * grad, plan, r)
    for _ in range(2):
        out = _centre_rows(out, plan, r)
        beta = torch.cholesky_solve(out.sum(-2)[..., None].to(factor), factor).to(out)
        out = _centre_rows(out.addcmul_(plan, beta.mT, value=-1), plan, r)
    return out


def _centre_rows(out: Tensor, plan: Tensor, r: Tensor) -> Tensor:
    return out.addcmul_(plan, out.sum(-1, keepdim=True) / r, value=-1)


def _factor(plan: Tensor, r: Tensor) -> Tensor:
    """The Cholesky factor of the Laplacian; in float64 where single precision does not do."""
    factor, failed = torch.linalg.cholesky_ex(_laplacian(plan, r))
    if bool(failed.any()):
        factor = torch.linalg.cholesky(_laplacian(plan.double(), r.double()))
    return factor


def _laplacian(plan: Tensor, r: Tensor) -> Tensor:
    r"""The Laplacian $L$, plus a ridge.

    The diagonal is the sum of the other entries, which is right to the last digit where $c - \dots$ would cancel. $L$
    has the null vector $\mathbf 1$, one for each block of a plan that falls apart, and no pair of the plan sees it. A
    ridge at the last digit of the diagonal makes the factorisation safe. Another one far below, relative to the mass,
    keeps $\beta$ in bounds where columns hold together by less than rounding.
    """
    eps = torch.finfo(plan.dtype).eps
    out = ((plan / r).mT @ plan).neg_()
    diagonal = out.diagonal(dim1=-2, dim2=-1)
    diagonal.zero_()
    ridged = -out.sum(-1) * (1 + 16 * eps) + 1e-3 * eps * plan.sum(-2)
    diagonal.copy_(torch.where(ridged > 0, ridged, 1.0))
    return out
