"""Second-order graph matching by Frank-Wolfe on the edge-factorised affinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..arguments import check_count, check_not_negative, check_positive, check_whole
from ..compatibility import SolverTraits
from ..problem import Problem, Solution
from .assignment import Array
from .climb import Climb
from .graduated import graduated
from .one_by_one import solve_one_by_one
from .quadratic import Quadratic


@dataclass(frozen=True)
class FAQ(SolverTraits):
    r"""Fast approximate quadratic programming: Frank-Wolfe steps to a good matching for node and edge scores.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$$

    Frank-Wolfe on the relaxed problem: at the gradient $G$ of the current $X$, solve the linear assignment
    $D = \arg\max \langle G, D\rangle$, move towards it by exact line search, stop when that gains nothing; the best
    vertex met on the way is the answer. The first start comes from a few steps of graduated assignment, which replace
    the linear assignment by Sinkhorn plans of falling temperature. The problem is NP-hard: the answer is a local
    optimum. A problem without edge scores is solved exactly.

    When to use it: whenever edges matter.

    Cost: a few to some tens of iterations. Each is a linear assignment and the gradient at its solution, for which
    those pairs of edges suffice that meet in a matched pair of nodes: at $k$ neighbours about $2 k |E_1|$. Only the
    start takes products with $K$, two for each of its steps. $K$ is kept as `(e, f)`; the $n^2 \times n^2$ matrix is
    never made. One problem after the other, on the CPU, as a batch would run as long as its slowest item.

    Args:
        max_iter: Most Frank-Wolfe iterations of one start.
        tol: Stop when the next step promises less than this share of the objective's size.
        restarts: Further starts, mixtures with random permutations (a fixed sequence), of which the best result counts.
        tau: Temperature at which graduated assignment begins, relative to the largest entry of the gradient; it ends at
            0.3 of that.
        steps: Steps of graduated assignment. None of them would be a start that knows little of the edges; more than
            the default gain little.

    Raises:
        ValueError: `max_iter` or `steps` is no whole number of at least 1, `restarts` is a negative one, `tol` is
            negative, or `tau` is not above 0.

    Example:
        >>> import torch
        >>> from graphalign import FAQ, NodeEdge, Problem
        >>> path1, path2 = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
        >>> problem = Problem(NodeEdge(torch.zeros(3, 3), torch.ones(2, 2)), path1, path2)
        >>> FAQ()(problem).matching
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])

    References:
        Vogelstein et al., "Fast approximate quadratic programming for graph matching", PLOS ONE 2015, algorithm 1; the
        start: Gold and Rangarajan, "A graduated assignment algorithm for graph matching", PAMI 1996.
    """

    max_iter: int = 30
    tol: float = 1e-5
    restarts: int = 0
    tau: float = 0.1
    steps: int = 12

    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_count(self, "max_iter", "steps")
        check_not_negative(self, "tol")
        check_whole(self, "restarts")
        check_positive(self, "tau")

    def __call__(self, problem: Problem) -> Solution:
        """Solves every problem of the batch.

        Returns:
            The matching; `converged`: whether the first start met `tol`; `residual`: the gain that its last step still
            promised, relative to the objective's size.
        """
        return solve_one_by_one(problem, self, self._solve_one)

    def _solve_one(self, quadratic: Quadratic, partial: bool) -> tuple[Array, float]:
        """The best columns, and the gap of the first start."""
        climb = Climb.of(quadratic, graduated(quadratic, partial, self.tau, self.steps), partial)
        best = first = climb.run(self.max_iter, self.tol)
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.restarts):
            other = climb.towards(_random_columns(climb.linear.shape, generator), 0.5).run(self.max_iter, self.tol)
            if other.value > best.value:
                best = other
        return best.columns, first.gap


def _random_columns(shape: tuple[int, ...], generator: torch.Generator) -> Array:
    """The column of each row in a random full matching, -1 for rows without one."""
    n, m = shape
    columns, pairs = torch.full((n,), -1), min(n, m)
    columns[torch.randperm(n, generator=generator)[:pairs]] = torch.randperm(m, generator=generator)[:pairs]
    found: Array = columns.numpy()
    return found
