"""The difference quotient that blackbox differentiation and I-MLE share."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..problem import NodeEdge

# Steps to one of a normalised direction; `difference` says why and how fine.
GRID = 2.0**16


def difference(
    solve: Callable[[NodeEdge], NodeEdge],
    scores: NodeEdge,
    matching: NodeEdge,
    grad: NodeEdge,
    lam: float,
    normalize: bool,
) -> NodeEdge:
    r"""Return the interpolated gradient of every problem.

    $$\frac{\rho}{\lambda}\Bigl(y(\theta) - y\bigl(\theta - \tfrac{\lambda}{\rho}\, g\bigr)\Bigr)$$

    With `normalize`, $\rho$ is the largest absolute entry of the problem's own gradient $g$, node and edge parts
    together: the step in score space then has size `lam` however the loss is scaled, averaged or batched, and the
    result is proportional to the scale of $g$. The direction $g / \rho$ is rounded to multiples of $2^{-16}$, since
    scaling $g$ changes the quotient by an ulp, which would be enough to break a tie of the scores another way. An
    entry below $2^{-17} \rho$ moves nothing, any other is off by at most that. A ratio $k / l$ of whole numbers is on
    the grid or at least $2^{-17} / l$ from where rounding turns, and float32 errs by at most $3 \cdot 2^{-24}$: up to
    $l = 42$ no scale changes the direction, and beyond it rarely.
    Without `normalize`, $\rho = 1$: the rule as published.

    A problem whose gradient is zero gets zero. A gradient that is not finite gives NaN instead of a failing solver,
    so that a loss scaler sees it and skips the step.

    Args:
        solve: From scores to their matching, without a gradient.
        scores: $\theta$, of the shape `(*b, ...)` or `(samples, *b, ...)`.
        matching: $y(\theta)$.
        grad: $g$, `(*b, ...)`.
        lam: $\lambda > 0$.
        normalize: Whether $\lambda$ is relative to the size of $g$.
    """
    peak = grad.amax()
    finite = peak.isfinite()
    rho = peak if normalize else torch.where(finite, torch.ones_like(peak), torch.nan)
    usable = finite & (peak > 0)
    divisor = torch.where(usable, rho, 1.0)[..., None, None]
    direction = grad.map(lambda g: torch.where(usable[..., None, None], g / divisor, 0.0))
    if normalize:
        direction = direction.map(lambda g: (g * GRID).round() / GRID)
    target = solve(scores - direction * lam)
    return (matching - target) * (rho / lam)
