"""Second-order matching of two tables by how alike their rows are, without the matrices of similarities."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .solvers.lap import best_columns

EDGE_WEIGHT = 3.0  # of the second order beside standardised node scores


class Similarities:
    r"""How alike the rows of each table are, $A = (U U^\top - \mu) / \sigma$ off the diagonal, kept as features $U$.

    Mean $\mu$ and standard deviation $\sigma$ are those of all pairs of rows, so that the two tables compare.

    Args:
        x: Unit rows `(n, d)`.
        y: Unit rows `(m, k)`.
        pairs: Known pairs `(p, 2)`.
        rows: The rows of `x` that are to be matched.
        cols: The rows of `y` that are to be matched.
    """

    def __init__(self, x: Tensor, y: Tensor, pairs: Tensor, rows: Tensor, cols: Tensor) -> None:
        self.x, self.y = x[rows], y[cols]
        (self.mean1, self.spread1), (self.mean2, self.spread2) = _spread(x), _spread(y)
        self.scale = EDGE_WEIGHT / max(len(x), len(y))
        first = (self.x @ x[pairs[:, 0]].T - self.mean1) / self.spread1
        second = (self.y @ y[pairs[:, 1]].T - self.mean2) / self.spread2
        self.seeds = 2 * self.scale * (first @ second.T)

    def product(self, columns: np.ndarray) -> Tensor:
        r"""$A D B$ at the matching $D$ of `columns`, without $A$ or $B$."""
        rows = np.flatnonzero(columns >= 0)
        taken = torch.from_numpy(columns[rows])
        u, v, chosen = self.x, self.y, torch.from_numpy(rows)
        du, dv = u[chosen], v[taken]
        inner = u @ (du.T @ dv) @ v.T
        rank_one = torch.outer(u @ du.sum(0) - self.mean1 * len(rows), torch.ones(len(v)).to(v)) * self.mean2
        other = self.mean1 * (v @ dv.sum(0))
        total = inner - other - rank_one
        # the diagonals of A and B count for nothing
        total[chosen] -= (1 - self.mean1) * (dv @ v.T - self.mean2)
        total[:, taken] -= (1 - self.mean2) * (u @ du.T - self.mean1)
        total[chosen, taken] += (1 - self.mean1) * (1 - self.mean2)
        return total / (self.spread1 * self.spread2)

    def match(self, scores: Tensor, max_iter: int = 25, tol: float = 1e-4) -> np.ndarray:
        """The columns of a local optimum: Frank-Wolfe from the matching by scores and known pairs alone."""
        linear = (scores - scores.mean()) / scores.std() + self.seeds
        columns = best_columns(linear.numpy())
        bend = self.product(columns)
        rows = np.flatnonzero(columns >= 0)
        relaxed = torch.zeros_like(linear)
        relaxed[rows, columns[rows]] = 1
        for _ in range(max_iter):
            slope = linear + 2 * self.scale * bend
            columns = best_columns(slope.numpy())
            step = -relaxed
            rows = np.flatnonzero(columns >= 0)
            step[rows, columns[rows]] += 1
            promise = float((slope * step).sum())
            if promise <= tol * abs(float((slope * relaxed).sum())):
                break
            turn = self.product(columns) - bend
            curvature = self.scale * float((turn * step).sum())
            share = 1.0 if curvature >= 0 else min(1.0, -promise / (2 * curvature))
            relaxed += share * step
            bend += share * turn
        return best_columns((relaxed + 1e-6 * (linear + 2 * self.scale * bend)).numpy())


def _spread(x: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the cosines of all pairs of different rows, from sums over features."""
    count = len(x) * (len(x) - 1)
    mean = (float(x.sum(0).square().sum()) - float(x.square().sum())) / count
    squares = float((x.T @ x).square().sum()) - float(x.square().sum(1).square().sum())
    return mean, max(squares / count - mean * mean, 1e-12) ** 0.5
