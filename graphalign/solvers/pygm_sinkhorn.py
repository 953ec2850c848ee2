"""Entropic linear assignment through pygmtools: the implementation that papers on graph matching use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_count, check_not_negative, check_positive
from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .preparation import divided, items, settle

FAR = 200.0  # temperatures below all other scores, where a forbidden pair scores
#: Scores of staying alone, `(B, n)` and `(B, m)`, or None.
Alone = tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class PygmSinkhorn(SolverTraits):
    r"""Sinkhorn's algorithm as pygmtools has it: the relaxed matching that balances score and entropy.

    Same problem and, once the rounds converged, same plan as `Sinkhorn`:

    $$\max_X \; \langle S, X\rangle - \tau \sum_{ia} X_{ia} (\log X_{ia} - 1)$$

    The engine is only ever given square matrices without padding, as it normalises rectangular ones wrongly (rows of a
    3 x 6 plan sum to two) and gives NaN gradients behind padding. Rectangular problems are filled up with nodes that
    score zero. Partial ones become $(n + m) \times (n + m)$: as many stand-ins for being alone as there are nodes,
    which score `unmatched` with real nodes and nothing among themselves. Padded nodes are cut out item by item.

    When to use it: to compare with published results. `sinkhorn` is the faster one, stops by its tolerance, takes warm
    starts, and has an implicit gradient.

    Cost: one round is two passes over the scores; a batch without masks is solved in one call, one with masks item by
    item. Autograd keeps every round in memory. `pygmtools` is imported at the first call.

    Args:
        tau: Temperature, in units of the scores.
        max_iter: Rounds, a row and a column update each, all of which are made. pygmtools counts half rounds and is
            given twice as many.
        tol: Largest error of a row's sum at which a problem counts as converged; it stops no rounds.

    Raises:
        ValueError: The scores, divided by `tau`, leave the range of their dtype.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, PygmSinkhorn
        >>> PygmSinkhorn(tau=1.0)(Problem(NodeEdge(torch.tensor([[1.0, 0.0], [0.0, 1.0]])))).matching
        tensor([[0.7311, 0.2689],
                [0.2689, 0.7311]])

    References:
        Cuturi, "Sinkhorn distances", NeurIPS 2013; Wang et al., "Pygmtools", JMLR 2024.
    """

    tau: float = 0.1
    max_iter: int = 100
    tol: float = 1e-4

    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "tau")
        check_count(self, "max_iter")
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; a warm start has no part in it.

        Returns:
            The plan without stand-ins; `residual`, the largest error of a row sum (column sums are exact), those of
            stand-ins included.
        """
        return settle(problem, self, self._solve)

    def _solve(self, problem: Problem) -> Solution:
        scores, real1, real2 = items(problem)
        alone: Alone = None
        forbidden = None
        if problem.unmatched is not None:
            first, second = problem.alone()
            alone = first.reshape(-1, first.shape[-1]).to(scores), second.reshape(-1, second.shape[-1]).to(scores)
        if problem.forbidden is not None:
            forbidden = ~problem.allowed().reshape(scores.shape)
            # So far below the others that its share is nothing, and near enough to keep their digits.
            low = scores.detach().amin((-2, -1), keepdim=True) - FAR * self.tau
            scores = torch.where(forbidden, low - _spread(scores), scores)
        with torch.autocast(scores.device.type, enabled=False):
            if bool(real1.all()) and bool(real2.all()):
                plan, residual = self._plans(scores, alone)
            else:
                plan, residual = self._solve_each(scores, real1, real2, alone)
        plan = plan if forbidden is None else torch.where(forbidden, 0.0, plan)
        node, residual = plan.reshape(problem.scores.node.shape), residual.reshape(problem.batch_shape)
        tol = max(self.tol, 16 * torch.finfo(node.dtype).eps)
        return Solution(NodeEdge(node), residual <= tol, residual=residual)

    def _solve_each(self, scores: Tensor, real1: Tensor, real2: Tensor, alone: Alone) -> tuple[Tensor, Tensor]:
        """Solve the real part of every item on its own; the rest of the plan is zero."""
        plans, residuals = [], []
        for item, (values, rows, cols) in enumerate(zip(scores, real1, real2, strict=True)):
            inner = rows.nonzero(), cols.nonzero()[:, 0]
            own = None if alone is None else (alone[0][item, rows][None], alone[1][item, cols][None])
            plan, residual = self._plans(values[inner][None], own)
            plans.append(torch.zeros_like(values).index_put(inner, plan[0]))
            residuals.append(residual)
        return torch.stack(plans), torch.cat(residuals)

    def _plans(self, scores: Tensor, alone: Alone) -> tuple[Tensor, Tensor]:
        """Plans `(B, n, m)` and residuals `(B)` of problems without padding."""
        n, m = scores.shape[-2:]
        if scores.numel() == 0:
            return scores, scores.new_zeros(len(scores))
        square = _square(scores, alone)
        divided(square, self.tau, self)  # pygmtools would fail, without a word of the scores
        plan = self._pygmtools(square)
        return plan[:, :n, :m], (plan.detach().sum(-1) - 1).abs().amax(-1)

    def _pygmtools(self, scores: Tensor) -> Tensor:
        import pygmtools

        plan: Tensor = pygmtools.sinkhorn(
            scores, max_iter=2 * self.max_iter, tau=self.tau, batched_operation=True, backend="pytorch"
        )
        return plan


def _square(scores: Tensor, alone: Alone) -> Tensor:
    """The problem among equally many rows and columns that all find a partner."""
    n, m = scores.shape[-2:]
    if alone is None:
        return F.pad(scores, (0, max(n - m, 0), 0, max(m - n, 0)))
    first, second = (x.expand(len(scores), -1) for x in alone)
    top = torch.cat([scores, first[:, :, None].expand(-1, n, n)], -1)
    below = torch.cat([second[:, None, :].expand(-1, m, m), scores.new_zeros(len(scores), m, n)], -1)
    return torch.cat([top, below], -2)


def _spread(scores: Tensor) -> Tensor:
    low, high = scores.detach().amin((-2, -1), keepdim=True), scores.detach().amax((-2, -1), keepdim=True)
    return high - low
