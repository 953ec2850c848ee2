"""The result of a solver: `Solution`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .vector import NodeEdge


@dataclass(frozen=True, eq=False)
class Solution:
    r"""What a solver found.

    Args:
        value: The matching, as a vector in the space of the scores: 0/1, or in between for relaxed solvers.
        converged: Bool `(*b)`: whether the solver met its tolerance; None where that has no meaning.
        residual: Float `(*b)`: how far from feasible or optimal it stopped, in the solver's own words; or None.
        state: Input of a warm start (`Problem.init`), or None.
        bound: Float64 `(*b)`: a number that `objective` exceeds at no matching of the problem, by weak duality, with
            room for rounding; None from solvers that have none, and where float64 does not hold it.
        objective: Float64 `(*b)`: what `Problem` maximises, at `value`; solvers that give a bound give it too.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, Sinkhorn
        >>> problem = Problem(NodeEdge(torch.eye(2)))
        >>> solution = Sinkhorn(tau=1.0)(problem)
        >>> solution
        Solution(matching (2, 2), converged=True)
        >>> again = Sinkhorn(tau=1.0)(problem.with_scores(problem.scores, init=solution.state))
    """

    value: NodeEdge
    converged: Tensor | None = None
    state: Any = None
    residual: Tensor | None = None
    bound: Tensor | None = None
    objective: Tensor | None = None

    def __repr__(self) -> str:
        """One line: the shape, and what was proved of one problem, or the worst of a batch."""
        parts = [f"matching {tuple(self.matching.shape)}"]
        if self.converged is not None:
            parts.append(f"converged={bool(self.converged.all())}")
        if self.objective is not None and self.objective.numel() == 1:
            parts.append(f"objective={float(self.objective):.6g}")
        if self.gap is not None and self.gap.numel():
            parts.append(f"gap={float(self.gap.max()):.3g}")
        return f"Solution({', '.join(parts)})"

    @property
    def matching(self) -> Tensor:
        """The node part of `value`, `(*b, n, m)`."""
        return self.value.node

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return the rows and the columns of the pairs of one matching, long `(pairs,)`, in the order of the rows.

        For a relaxed matching those are the pairs of any mass. A batch is refused by a ValueError.
        """
        matching = self.matching
        if matching.layout != torch.strided:
            rows, columns = matching.coalesce().indices()
            return rows, columns
        if matching.dim() != 2:
            raise ValueError(f"pairs() is for one matching; this is a batch of the shape {tuple(matching.shape)}")
        rows, columns = matching.nonzero(as_tuple=True)
        return rows, columns

    @property
    def gap(self) -> Tensor | None:
        r"""How far the matching is at most from the best one, `(*b)`, as a share; None without a bound.

        $(\text{bound} - \text{objective}) / \max(|\text{bound}|, |\text{objective}|)$, and 0 where both are 0. A gap
        of 0.01 proves that no matching is better by more than one percent. It is relative to the objective as it is,
        so a constant added to all scores changes the gap, though not the matching.
        """
        if self.bound is None or self.objective is None:
            return None
        size = torch.maximum(self.bound.abs(), self.objective.abs())
        return torch.where(size > 0, (self.bound - self.objective).clamp_min(0) / size, 0.0)
