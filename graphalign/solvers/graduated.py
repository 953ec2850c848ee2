"""Graduated assignment: a relaxed matching that hardens while the temperature falls, to start a climb from."""

from __future__ import annotations

import numpy as np

from .assignment import Array
from .quadratic import Quadratic

LAST = 0.3  # the last temperature as a share of the first one
ROUNDS = 10  # of Sinkhorn at each temperature: the start need not be exact
SLACK = 1e-100  # above the smallest numbers, whose quotients would be infinite


def graduated(problem: Quadratic, tau: float, steps: int) -> Array:
    r"""Return a relaxed matching $X$, `(n, m)`, float64, that knows of the edges.

    From the matching that is the same everywhere, `steps` times: $X \leftarrow$ the Sinkhorn plan of the gradient
    $L + \nabla q(X)$ at a temperature that falls geometrically.

    Args:
        problem: With $L$ as node scores.
        tau: The first temperature, relative to how far the gradient's entries are from their mean.
        steps: How many plans.

    References:
        Gold and Rangarajan, "A graduated assignment algorithm for graph matching", PAMI 1996, section 2.4.
    """
    n, m = problem.linear.shape
    x: Array = problem.without(np.full((n, m), 1 / max(n, m)))
    for temperature in np.geomspace(tau, LAST * tau, steps):
        x = problem.edges.gradient(x)
        x += problem.linear
        x = plan(problem, x, float(temperature), ROUNDS)
    return feasible(problem, x)


def plan(problem: Quadratic, gains: Array, tau: float, rounds: int) -> Array:
    """Return the plan of some Sinkhorn rounds; sums of columns are exact."""
    n, m = gains.shape
    # A slack row takes what columns have left over, and a slack column likewise, as in `Sinkhorn`.
    spare1, spare2 = (m, n) if problem.partial else (max(m - n, 0), max(n - m, 0))
    a, b = np.append(np.ones(n), spare1), np.append(np.ones(m), spare2)
    kernel = np.zeros((n + 1, m + 1))
    kernel[:n, :m] = deviation(problem, gains)
    top = max(float(kernel.max()), -float(kernel.min()), np.finfo(gains.dtype).tiny)
    kernel /= top
    kernel /= tau
    if problem.forbidden is not None:
        kernel[:n, :m][problem.forbidden] = -np.inf
    kernel -= kernel.max(1, keepdims=True)
    np.maximum(kernel, np.log(SLACK), out=kernel)
    np.exp(kernel, out=kernel)
    if problem.forbidden is not None:
        kernel[:n, :m][problem.forbidden] = 0
    v = (b > 0).astype(kernel.dtype)
    for _ in range(rounds):
        u = a / np.maximum(kernel @ v, SLACK)
        v = b / np.maximum(u @ kernel, SLACK)
    x: Array = kernel[:n, :m] * v[:m]
    x *= u[:n, None]
    return x


def deviation(problem: Quadratic, gains: Array) -> Array:
    """Return gains without the constants of nodes that are matched anyway, which no matching can change."""
    if problem.partial:
        return gains
    if problem.forbidden is not None:
        centre: float = gains[~problem.forbidden].mean()
        return gains - centre
    n, m = gains.shape
    if n <= m:
        gains = gains - gains.mean(1, keepdims=True)
    if n == m:
        gains -= gains.mean(0)
    elif m < n:
        gains = gains - gains.mean(0)
    return gains


def feasible(problem: Quadratic, x: Array) -> Array:
    r"""Return a relaxed matching near `x`, whose sums are not quite right: a climb from outside may stop at once.

    Rows and then columns of too much are scaled down; what is lacking then is spread over rows and columns by how much
    they lack, unless nodes may stay alone. With forbidden pairs nothing is spread, and the little that lacks stays so.

    References:
        Altschuler, Weed and Rigollet, "Near-linear time approximation algorithms for optimal transport via Sinkhorn
        iteration", NeurIPS 2017, algorithm 2.
    """
    x = x / np.maximum(x.sum(1, keepdims=True), 1)
    x /= np.maximum(x.sum(0), 1)
    lack1, lack2 = 1 - x.sum(1), 1 - x.sum(0)
    most = max(lack1.sum(), lack2.sum())
    if problem.partial or problem.forbidden is not None or most <= 0:
        return x
    spread = np.outer(np.maximum(lack1, 0), np.maximum(lack2, 0))
    spread /= most
    spread += x
    return spread
