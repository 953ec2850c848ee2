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
        chosen, taken = torch.from_numpy(rows), torch.from_numpy(columns[rows])
        u, v = self.x, self.y
        du, dv = u[chosen], v[taken]
        # The diagonals of A and B count for nothing: partners of each row, and of each column, are taken off again.
        of_rows = torch.zeros(len(u), v.shape[1]).to(v).index_copy_(0, chosen, dv)
        of_columns = torch.zeros(len(v), u.shape[1]).to(u).index_copy_(0, taken, du)
        left = torch.cat([u @ (du.T @ dv) - (1 - self.mean1) * of_rows, (self.mean2 - 1) * u], 1)
        total = left @ torch.cat([v, of_columns], 1).T
        matched = torch.zeros(len(u)).to(u).index_fill_(0, chosen, 1 - self.mean1)
        total -= (self.mean2 * (u @ du.sum(0) - self.mean1 * len(rows) - matched))[:, None]
        matched = torch.zeros(len(v)).to(v).index_fill_(0, taken, 1 - self.mean2)
        total -= self.mean1 * (v @ dv.sum(0) - matched)
        total[chosen, taken] += (1 - self.mean1) * (1 - self.mean2)
        return total.div_(self.spread1 * self.spread2)

    def match(self, scores: Tensor, max_iter: int = 25, tol: float = 1e-4) -> np.ndarray:
        """The columns of a local optimum: Frank-Wolfe from the matching by scores and known pairs alone."""
        spread = scores.std() if scores.numel() > 1 else scores.new_ones(())
        linear = (scores - scores.mean()) / spread.clamp(min=torch.finfo(scores.dtype).tiny) + self.seeds
        columns = best_columns(linear.numpy())
        bend = self.product(columns)
        rows = np.flatnonzero(columns >= 0)
        relaxed = torch.zeros_like(linear)
        relaxed[rows, columns[rows]] = 1
        for _ in range(max_iter):
            slope = torch.add(linear, bend, alpha=2 * self.scale)
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
