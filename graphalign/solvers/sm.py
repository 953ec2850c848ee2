"""Second-order graph matching by the leading eigenvector, through pygmtools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import check_choice, check_count, check_not_negative
from ..compatibility import SolverTraits
from ..problem import Problem, Solution
from .dense_affinity import SingleProblem, clipped, dense_affinity, scaled, shifted
from .pygm_affinity import call, solve_densely


@dataclass(frozen=True)
class SM(SolverTraits):
    r"""Spectral matching: the leading eigenvector of all scores of pairs, rounded, for node and edge scores.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$$

    Spectral matching: with $A$ the matrix of all scores, $x = \arg\max_{\lVert x\rVert_2 = 1} x^\top A x$ by power
    iteration, rounded by linear assignment. With `unmatched` $= u$ everybody is matched by $S - 2u$; then the pair that
    gains least is left out as long as it gains nothing. A problem without edge scores is solved exactly.

    When to use it: to compare with published results; it knows no constraints before it rounds. `faq` is the better
    choice.

    Cost: up to `max_iter` products with the $n^2 m^2$ entries of $A$; one problem after the other on the CPU.
    `pygmtools` is imported at the first call.

    Args:
        max_iter: Most iterations; the engine stops when $x$ changes by less than $10^{-5}$.
        negative: The leading eigenvector has one sign only where no entry is negative. `clip`: negative entries count
            as zero, so that bad pairs and pairs of no worth are one to it. `shift`: all entries are raised equally.
            This keeps the ranking of full matchings, and pulls the eigenvector towards one of equal entries, so choose
            it where almost all scores are negative.
        tol: Largest change of $x$ (in norm, of 1) by one more iteration at which a problem counts as converged.
        max_bytes: Largest matrix of one problem, in bytes; above it the solver refuses.

    Raises:
        ValueError: The matrix would exceed `max_bytes`.

    Example:
        >>> import torch
        >>> from graphalign import SM, NodeEdge, Problem
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> node = torch.zeros(4, 4)
        >>> node[0, 1] = 1.0
        >>> SM()(Problem(NodeEdge(node, torch.ones(4, 4)), ring, ring)).matching.argmax(1)
        tensor([1, 2, 3, 0])

    References:
        Leordeanu and Hebert, "A spectral technique for correspondence problems using pairwise constraints", ICCV 2005,
        section 2; Wang et al., "Pygmtools", JMLR 2024.
    """

    max_iter: int = 50
    negative: str = "clip"
    tol: float = 1e-5
    max_bytes: int = 2_000_000_000

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_count(self, "max_iter", "max_bytes")
        check_choice(self, "negative", ("clip", "shift"))
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; a warm start has no part in it.

        Returns:
            The matching; `residual`, the change of $x$ by one more iteration.
        """
        solution, residual = solve_densely(problem, self, self._relax)
        return solution if residual is None else replace(solution, converged=residual <= self.tol, residual=residual)

    def _relax(self, single: SingleProblem) -> tuple[Tensor, float]:
        n, m = single.node.shape
        affinity = dense_affinity(single)
        affinity = scaled(clipped(affinity) if self.negative == "clip" else shifted(affinity))
        if not affinity.any():
            return single.node, 0.0
        x = call("sm", affinity, n, m, backend="numpy", max_iter=self.max_iter)
        once_more = call("sm", affinity, n, m, backend="numpy", max_iter=1, x0=x)
        return x, float(torch.linalg.vector_norm(once_more - x))
