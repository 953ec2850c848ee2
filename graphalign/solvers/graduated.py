"""Graduated assignment: a relaxed matching that hardens while the temperature falls, to start a climb from."""

from __future__ import annotations

import numpy as np
import torch

from .assignment import Array
from .quadratic import Quadratic

LAST = 0.3  # the last temperature as a share of the first one
ROUNDS = 10  # of Sinkhorn at each temperature: the start need not be exact
SLACK = 1e-100  # above the smallest numbers, whose quotients would be infinite


def graduated(quadratic: Quadratic, partial: bool, tau: float, steps: int) -> Array:
    r"""Returns a relaxed matching $X$, `(n, m)`, float64, that knows of the edges.

    From the matching that is the same everywhere, `steps` times: $X \leftarrow$ the Sinkhorn plan of the gradient
    $L + \nabla q(X)$ at a temperature that falls geometrically.

    Args:
        quadratic: The problem, with $L$ as node scores.
        partial: Whether nodes may stay alone, which scores nothing.
        tau: The first temperature, relative to the gradient's largest entry.
        steps: How many plans.

    References:
        Gold and Rangarajan, "A graduated assignment algorithm for graph matching", PAMI 1996, section 2.4.
    """
    linear = quadratic.node.double().numpy()
    n, m = linear.shape
    x: Array = np.full((n, m), 1 / max(n, m))
    for temperature in np.geomspace(tau, LAST * tau, steps):
        slope = quadratic.gradient(torch.from_numpy(x).to(quadratic.edge.dtype)).numpy()
        x = plan(linear + slope, float(temperature), partial)
    return feasible(x, partial)


def plan(gains: Array, tau: float, partial: bool) -> Array:
    """The plan of some Sinkhorn rounds; sums of columns are exact."""
    n, m = gains.shape
    # A slack row takes what columns have left over, and a slack column likewise, as in `Sinkhorn`.
    spare1, spare2 = (m, n) if partial else (max(m - n, 0), max(n - m, 0))
    a, b = np.append(np.ones(n), spare1), np.append(np.ones(m), spare2)
    z = np.zeros((n + 1, m + 1))
    z[:n, :m] = gains / (tau * max(float(np.abs(gains).max()), np.finfo(gains.dtype).tiny))
    kernel = np.exp(np.maximum(z - z.max(1, keepdims=True), np.log(SLACK)))
    v = (b > 0).astype(kernel.dtype)
    for _ in range(ROUNDS):
        u = a / (kernel @ v)
        v = b / (u @ kernel)
    x: Array = (u[:n, None] * kernel[:n, :m]) * v[:m]
    return x


def feasible(x: Array, partial: bool) -> Array:
    r"""Returns a relaxed matching near `x`, whose sums are not quite right: a climb from outside may stop at once.

    Rows and then columns of too much are scaled down; what is lacking then is spread over rows and columns by how much
    they lack, unless nodes may stay alone.

    References:
        Altschuler, Weed and Rigollet, "Near-linear time approximation algorithms for optimal transport via Sinkhorn
        iteration", NeurIPS 2017, algorithm 2.
    """
    x = x / np.maximum(x.sum(1, keepdims=True), 1)
    x /= np.maximum(x.sum(0), 1)
    lack1, lack2 = 1 - x.sum(1), 1 - x.sum(0)
    most = max(lack1.sum(), lack2.sum())
    return x if partial or most <= 0 else x + np.outer(np.maximum(lack1, 0), np.maximum(lack2, 0)) / most
