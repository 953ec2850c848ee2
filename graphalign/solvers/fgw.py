"""Fused Gromov-Wasserstein transport between graphs, through Python Optimal Transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..arguments import check_count, check_not_negative
from ..compatibility import SolverTraits
from ..extras import pip_line
from ..problem import Problem, Solution
from .assignment import Array
from .climb import gaining_columns
from .one_by_one import solve_one_by_one
from .quadratic import Quadratic


@dataclass(frozen=True)
class FGW(SolverTraits):
    r"""Fused Gromov-Wasserstein transport, a good matching for node and edge scores, by Python Optimal Transport.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb},
      \qquad X\mathbf 1 = \mathbf 1,\; X^\top\mathbf 1 = \mathbf 1,\; X \ge 0$$

    This is fused Gromov-Wasserstein with any $K$, where the original has the squared difference of two structure
    matrices. From the plan that is the same everywhere, `ot.optim.cg` moves towards optimal transport plans of the
    gradient by exact line search, with $K$ in factors. The plan it ends with is rounded by linear assignment, which is
    seldom needed, as the ends are mostly matchings. What a rectangular problem has too many of, and nodes that may
    stay alone, go to one further node on the other side that scores nothing; of a partial problem, those pairs are
    kept which have more than half of their nodes' mass.

    When to use it: to compare with results of optimal transport. `faq` works in the same way with a better start, and
    takes less time (`benchmarks/`).

    Cost: some tens of iterations, each an exact transport plan and two products with $K$. One problem after the other,
    on the CPU in float64. `ot` is imported at the first call.

    Args:
        max_iter: Most iterations.
        tol: Stop when the objective changes by less than this share of itself.

    Raises:
        ImportError: The package POT is missing.

    Example:
        >>> import torch
        >>> from graphalign import FGW, NodeEdge, Problem
        >>> path1, path2 = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
        >>> clue = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> problem = Problem(NodeEdge(clue, torch.ones(2, 2)), path1, path2)
        >>> FGW()(problem).matching
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])

    References:
        Vayer et al., "Optimal transport for structured data with application on graphs", ICML 2019, algorithm 1;
        Flamary et al., "POT: Python Optimal Transport", JMLR 2021.
    """

    max_iter: int = 100
    tol: float = 1e-7

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_count(self, "max_iter")
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solves every problem of the batch.

        Returns:
            The matching; `residual`: by which share of itself the objective last changed, and `converged`, whether
            that met `tol`.
        """
        return solve_one_by_one(problem, self, self._solve_one)

    def _solve_one(self, quadratic: Quadratic, partial: bool) -> tuple[Array, float]:
        n, m = quadratic.node.shape
        x, losses = self._transport(quadratic, partial)
        change = abs(losses[-1] - losses[-2])
        residual = change / abs(losses[-1]) if losses[-1] != 0 else change
        return gaining_columns(x[:n, :m] - 0.5 if partial else x[:n, :m], partial), residual

    def _transport(self, quadratic: Quadratic, partial: bool) -> tuple[Array, list[float]]:
        """The plan with its slack, and the loss at the start and after every iteration."""
        n, m = quadratic.node.shape
        a, b = _masses(n, m, partial)
        loss = _Loss(quadratic, (len(a), len(b)))
        plan, log = _ot().optim.cg(
            a,
            b,
            loss.widened(-quadratic.node.numpy()),
            1.0,
            loss.value,
            loss.slope,
            line_search=loss.search,
            G0=np.outer(a, b) / a.sum(),  # its own start takes the sums of a and b for one
            numItermax=self.max_iter,
            stopThr=self.tol,
            stopThr2=0.0,
            log=True,
        )
        return plan, [float(x) for x in log["loss"]]


@dataclass(frozen=True, eq=False)
class _Loss:
    """$-q$ of the plans of a problem, which may have a slack row and column that no edge touches.

    Args:
        quadratic: The problem, whose scores are maximised.
        shape: Of the plans.
    """

    quadratic: Quadratic
    shape: tuple[int, int]

    def widened(self, x: Array) -> Array:
        """Appends zeros for the slack."""
        wide: Array = np.pad(x, [(0, whole - part) for whole, part in zip(self.shape, x.shape, strict=True)])
        return wide

    def value(self, plan: Array) -> float:
        return float(np.vdot(self.slope(plan), plan)) / 2

    def slope(self, plan: Array) -> Array:
        n, m = self.quadratic.node.shape
        x = torch.from_numpy(np.ascontiguousarray(plan[:n, :m])).to(self.quadratic.edge.dtype)
        return self.widened(-self.quadratic.gradient(x).double().numpy())

    def search(
        self, cost: Any, plan: Array, step: Array, slope: Array, loss: float, edge_slope: Array, **_: Any
    ) -> tuple[float, int, float, Array]:
        """The best share of a step on the parabola along it; with the loss and the gradient of $-q$ after that."""
        along = self.slope(step)
        curvature, fall = float(np.vdot(along, step)) / 2, float(np.vdot(slope, step))
        share = float(_ot().optim.solve_1d_linesearch_quad(curvature, fall))
        return share, 1, loss + share * fall + share**2 * curvature, edge_slope + share * along


def _masses(n: int, m: int, partial: bool) -> tuple[Array, Array]:
    """One for every node; the slack has as much as the other side can have left over, and is there if that is any."""
    spare1, spare2 = (m, n) if partial else (max(m - n, 0), max(n - m, 0))
    a, b = (np.append(np.ones(size), spare) for size, spare in ((n, spare1), (m, spare2)))
    return a[: n + (spare1 > 0)], b[: m + (spare2 > 0)]


def _ot() -> Any:
    try:
        import ot
    except ImportError as error:
        raise ImportError(f"The solver `fgw` needs the package POT: {pip_line('pot')}") from error
    return ot
