"""Second-order graph matching by integer projected fixed points, through pygmtools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..arguments import check_count
from ..compatibility import SolverTraits
from ..problem import Problem, Solution
from .dense_affinity import SingleProblem, dense_affinity, scaled, shifted
from .pygm_affinity import call, solve_densely


@dataclass(frozen=True)
class IPFP(SolverTraits):
    r"""Integer projected fixed point: assignments along the gradient, for node and edge scores.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$$

    With $A$ the matrix of all scores: from the current $x$ solve the linear assignment
    $b = \arg\max_b \langle A x, b\rangle$, move towards it by exact line search; the best $b$ met on the way is the
    answer. With `unmatched` $= u$ everybody is matched by $S - 2u$; then the pair that gains least is left out as long
    as it gains nothing. A problem without edge scores is solved exactly.

    With negative scores the engine may return no matching at all, as it compares objectives with -1. Then all entries
    of $A$ are raised equally, by $c$: every matching of $k = \min(n, m)$ pairs gains $c k^2$, so their ranking stays,
    and so do the assignments of one $x$. The objective's relative change, by which the engine stops (at $10^{-3}$),
    looks smaller, so that it may stop earlier.

    When to use it: to compare with published results. `faq` is the same idea without the matrix of all pairs, from a
    better start and with a stop that does not depend on a shift.

    Cost: up to `max_iter` iterations, usually a few, each a linear assignment and some products with the $n^2 m^2$
    entries of $A$; one problem after the other on the CPU. `pygmtools` is imported at the first call.

    Args:
        max_iter: Most iterations.
        max_bytes: Largest matrix of one problem, in bytes; above it the solver refuses.

    Raises:
        ValueError: The matrix would exceed `max_bytes`.

    Example:
        >>> import torch
        >>> from graphalign import IPFP, NodeEdge, Problem
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> node = torch.zeros(4, 4)
        >>> node[0, 1] = node[1, 2] = node[2, 3] = 1.0
        >>> IPFP()(Problem(NodeEdge(node, torch.ones(4, 4)), ring, ring)).matching.argmax(1)
        tensor([1, 2, 3, 0])

    References:
        Leordeanu, Hebert and Sukthankar, "An integer projected fixed point method for graph matching and MAP
        inference", NeurIPS 2009, section 2; Wang et al., "Pygmtools", JMLR 2024.
    """

    max_iter: int = 50
    max_bytes: int = 2_000_000_000

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_count(self, "max_iter", "max_bytes")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; the engine does not say whether it converged."""
        return solve_densely(problem, self, self._relax)[0]

    def _relax(self, single: SingleProblem) -> tuple[Tensor, float]:
        n, m = single.node.shape
        affinity = scaled(shifted(dense_affinity(single)))
        return call("ipfp", affinity, n, m, backend="numpy", max_iter=self.max_iter), 0.0
