"""Second-order graph matching by reweighted random walks, through pygmtools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_choice, check_count, check_not_negative, check_positive
from ..compatibility import SolverTraits
from ..problem import Problem, Solution
from .dense_affinity import SingleProblem, clipped, dense_affinity, scaled, shifted
from .pygm_affinity import call, solve_densely


@dataclass(frozen=True)
class RRWM(SolverTraits):
    r"""Reweighted random walks: a walk among pairs of nodes, for node and edge scores.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$$

    A random walk among pairs $(i, a)$, with the affinities as weights of its steps, that jumps with probability
    $1 - \alpha$ to where the constraints of a matching lead:

    $$x \leftarrow \alpha\, \mathrm{sinkhorn}\Bigl(\exp \frac{\beta A x}{\max A x}\Bigr)
      + (1 - \alpha) \frac{A x}{\lVert A x\rVert_1}$$

    with $A$ the matrix of all scores, and $x$ at the end rounded by linear assignment. ($\alpha$ as pygmtools has it,
    which is one minus the paper's.) Rectangular problems are filled up with nodes that score zero, as the engine
    normalises those wrongly. With `unmatched` $= u$ the walk matches everybody by $S - 2u$; then the pair that gains
    least is left out as long as it gains nothing. A problem without edge scores is solved exactly.

    When to use it: to compare with published results; `faq` needs no matrix of all pairs.

    Cost: `max_iter` products with the $n^2 m^2$ entries of $A$, with $\max(n, m)^4$ in place of those of rectangular
    problems, and as many times `sk_iter` half rounds of Sinkhorn; one problem after the other on the CPU. Memory: twice
    the matrix. `pygmtools` is imported at the first call.

    Args:
        max_iter: Iterations, most of which are made: the engine's own test for stopping is hardly ever met.
        sk_iter: Half rounds of Sinkhorn in an iteration.
        alpha: Weight of the jump, above 0, at most 1.
        beta: Sharpness of the jump, without unit.
        negative: A walk knows no negative weights. `clip`: they count as zero, so that bad pairs and pairs of no worth
            are one to it. `shift`: all entries are raised equally. This keeps the ranking of full matchings, and hides
            the differences behind a walk to everywhere, so choose it where almost all scores are negative.
        tol: Largest change of $x$ (in sum, of 1) by one more iteration at which a problem counts as converged.
        max_bytes: Largest matrix of one problem, in bytes; above it the solver refuses.

    Raises:
        ValueError: The matrix would exceed `max_bytes`.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, RRWM
        >>> ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> node = torch.zeros(4, 4)
        >>> node[0, 1] = 1.0
        >>> RRWM()(Problem(NodeEdge(node, torch.ones(4, 4)), ring, ring)).matching.argmax(1)
        tensor([1, 2, 3, 0])

    References:
        Cho, Lee and Lee, "Reweighted random walks for graph matching", ECCV 2010, algorithm 1; Wang et al.,
        "Pygmtools", JMLR 2024.
    """

    max_iter: int = 50
    sk_iter: int = 20
    alpha: float = 0.2
    beta: float = 30.0
    negative: str = "clip"
    tol: float = 1e-5
    max_bytes: int = 2_000_000_000

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_count(self, "max_iter", "sk_iter", "max_bytes")
        check_positive(self, "alpha", "beta")
        if self.alpha > 1:
            raise ValueError(f"RRWM: alpha must be a number above 0 and at most 1, not {self.alpha}")
        check_choice(self, "negative", ("clip", "shift"))
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; a warm start has no part in it.

        Returns:
            The matching; `residual`, the change of $x$ by one more iteration.
        """
        solution, residual = solve_densely(problem, self, self._relax, square=True)
        return solution if residual is None else replace(solution, converged=residual <= self.tol, residual=residual)

    def _relax(self, single: SingleProblem) -> tuple[Tensor, float]:
        n, m = single.node.shape
        affinity = dense_affinity(single)
        affinity = scaled(clipped(affinity) if self.negative == "clip" else shifted(affinity))
        if not affinity.any():
            return single.node, 0.0
        affinity, size = _square(affinity, n, m), max(n, m)
        x = self._walk(affinity, size, max_iter=self.max_iter)
        once_more = self._walk(affinity, size, max_iter=1, x0=x)
        return x[:n, :m], float((once_more - x).abs().sum())

    def _walk(self, affinity: Tensor, size: int, **options: int | Tensor) -> Tensor:
        settings = {"sk_iter": self.sk_iter, "alpha": self.alpha, "beta": self.beta, **options}
        # with NumPy an iteration takes two to three times as long, most of it in Sinkhorn
        return call("rrwm", affinity, size, size, backend="pytorch", **settings)


def _square(affinity: Tensor, n: int, m: int) -> Tensor:
    """The matrix among equally many nodes on both sides, of which those that are not there score zero."""
    if n == m:
        return affinity
    size = max(n, m)
    rows, cols = size - n, size - m
    return F.pad(affinity.view(m, n, m, n), (0, rows, 0, cols, 0, rows, 0, cols)).view(size * size, size * size)
