"""Fused Gromov-Wasserstein transport between graphs, through Python Optimal Transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..arguments import check_count, check_not_negative
from ..compatibility import SolverTraits
from ..extras import pip_line
from ..problem import Problem, Solution
from .assignment import Array
from .climb import best_matching
from .graduated import feasible
from .graduated import plan as sinkhorn_plan
from .one_by_one import One, solve_one_by_one
from .quadratic import Quadratic

MOST = 1_000_000  # steps of one transport problem
OPTIMAL = 1  # POT's code of a plan that is
ROUNDS = 1000  # of Sinkhorn, for a start between forbidden pairs


@dataclass(frozen=True)
class FGW(SolverTraits):
    r"""Fused Gromov-Wasserstein transport, a good matching for node and edge scores, by Python Optimal Transport.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb},
      \qquad X\mathbf 1 = \mathbf 1,\; X^\top\mathbf 1 = \mathbf 1,\; X \ge 0$$

    This is fused Gromov-Wasserstein with any $K$, where the original has the squared difference of two structure
    matrices. From the plan that is the same everywhere, or from `Problem.init`, POT's conditional gradient moves
    towards optimal transport plans of the gradient by exact line search, with $K$ in factors. The plan it ends with is
    rounded by linear assignment, seldom needed, as the ends are mostly matchings. Whatever a rectangular problem
    has too many of, and nodes that may stay alone, go to one further node on the other side that scores nothing; of a
    partial problem, those pairs are kept which have more than half of their nodes' mass.

    When to use it: to compare with results of optimal transport. `faq` works in the same way with a better start, and
    takes less time (`benchmarks/`).

    Cost: some tens of iterations, each an exact transport plan and two products with $K$. One problem after the other,
    on the CPU in float64. `ot` is imported at the first call.

    Args:
        max_iter: Most iterations.
        tol: Stop when the objective changes by less than this share of itself.

    Raises:
        ImportError: The package POT is missing.
        RuntimeError: POT found no optimal plan.

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
    takes_init: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count(self, "max_iter")
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch.

        Returns:
            The matching; `residual`: by which share of itself the objective last changed, and `converged`, whether
            that met `tol`.
        """
        return solve_one_by_one(problem, self, self._solve_one)

    def _solve_one(self, problem: Quadratic) -> One:
        n, m = problem.linear.shape
        x, losses = self._transport(problem)
        change = abs(losses[-1] - losses[-2])
        residual = change / abs(losses[-1]) if losses[-1] != 0 else change
        columns = best_matching(problem, x[:n, :m] - 0.5 if problem.partial else x[:n, :m])
        return One(columns, residual)

    def _transport(self, problem: Quadratic) -> tuple[Array, list[float]]:
        """The plan with its slack, and the loss at the start and after every iteration."""
        n, m = problem.linear.shape
        a, b = _masses(n, m, problem.partial)
        loss = _Loss(problem, (len(a), len(b)))
        with np.errstate(over="ignore"):  # a relative change from next to nothing, which stops nothing
            plan, log = _ot().optim.generic_conditional_gradient(
                a,
                b,
                loss.widened(-problem.linear),
                loss.value,
                loss.slope,
                1.0,
                None,
                loss.vertex,
                loss.search,
                G0=loss.start(a, b),
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
        problem: Whose scores are maximised.
        shape: Of the plans.
    """

    problem: Quadratic
    shape: tuple[int, int]

    def widened(self, x: Array) -> Array:
        """Append zeros for the slack."""
        wide: Array = np.pad(x, [(0, whole - part) for whole, part in zip(self.shape, x.shape, strict=True)])
        return wide

    def start(self, a: Array, b: Array) -> Array:
        """The plan to begin with: the warm start's, or one that is as equal everywhere as can be."""
        problem, (n, m) = self.problem, self.problem.linear.shape
        if problem.start is None and problem.forbidden is None:
            uniform: Array = np.outer(a, b) / a.sum()
            return uniform
        if problem.start is not None:
            x = feasible(problem, problem.start)
        else:
            x = sinkhorn_plan(problem, np.zeros((n, m)), 1.0, ROUNDS)
        wide = self.widened(x)
        if len(a) > n:
            wide[n, :m] = np.maximum(1 - x.sum(0), 0)
        if len(b) > m:
            wide[:n, m] = np.maximum(1 - x.sum(1), 0)
        return wide

    def vertex(self, a: Array, b: Array, costs: Array) -> tuple[Array, dict[str, Any]]:
        """The plan of least cost. POT takes costs that are well below zero for no costs at all, so none is."""
        if self.problem.forbidden is not None:
            low, high = costs.min(), costs.max()
            far = high + (len(a) + 1) * (high - low if high > low else 1 + abs(high))
            costs = np.where(self.widened(self.problem.forbidden), far, costs)
        plan, log = _ot().emd(a, b, costs - costs.min(), MOST, log=True)
        if log["result_code"] != OPTIMAL:
            raise RuntimeError(f"FGW: ot.emd found no optimal plan: {log['warning']}")
        return plan, log

    def value(self, plan: Array) -> float:
        return float(np.vdot(self.slope(plan), plan)) / 2

    def slope(self, plan: Array) -> Array:
        n, m = self.problem.linear.shape
        return self.widened(-self.problem.edges.gradient(np.ascontiguousarray(plan[:n, :m])))

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
        raise ImportError(f"the solver `fgw` needs the package POT: {pip_line('pot')}") from error
    return ot
