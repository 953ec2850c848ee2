"""Second-order graph matching by Frank-Wolfe on the edge-factorised affinity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import count, not_negative, positive, whole
from ..problem import NodeEdge, Problem, Solution
from .climb import Climb
from .graduated import graduated
from .lap import Lap
from .prepare import items, prepare
from .quadratic import Quadratic


@dataclass(frozen=True)
class FAQ:
    r"""A good matching for node and edge scores, $\max_X \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$.

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

    Example:
        >>> import torch
        >>> from graphalign import FAQ, NodeEdge, Problem
        >>> path, same = torch.tensor([[0, 1], [1, 2]]), torch.eye(2)
        >>> problem = Problem(NodeEdge(torch.zeros(3, 3), same), edges1=path, edges2=path.flip(1))
        >>> FAQ()(problem).matching
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [1., 0., 0.]])

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
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    max_nodes: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        count(self, "max_iter", "steps")
        not_negative(self, "tol")
        whole(self, "restarts")
        positive(self, "tau")

    def __call__(self, problem: Problem) -> Solution:
        """Solves every problem of the batch.

        Returns:
            The matching; `converged`: whether the first start met `tol`; `residual`: the gain that its last step still
            promised, relative to the objective's size.
        """
        working = prepare(problem, self)
        if working.scores.edge is None:
            return Lap()(problem)
        node, gap = self._solve_each(replace(working, scores=working.scores.detach()))
        value = NodeEdge(node, working.edge_matching(node)).to(problem.scores.node.dtype)
        return Solution(value, gap <= self.tol, residual=gap)

    def _solve_each(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Matchings and gaps of all problems of the batch."""
        batch, like = problem.batch_shape, problem.scores.node
        _, real1, real2 = (x.cpu() for x in items(problem))
        found, gaps = torch.zeros(batch.numel(), *like.shape[-2:]), torch.zeros(batch.numel())
        for item, quadratic in enumerate(Quadratic.split(problem)):
            rows, cols = real1[item].nonzero()[:, 0], real2[item].nonzero()[:, 0]
            if len(rows) and len(cols):
                columns, gaps[item] = self._solve_one(quadratic.restrict(rows, cols), problem.unmatched)
                paired = columns >= 0
                found[item, rows[paired], cols[columns[paired]]] = 1
        return found.to(like).reshape(like.shape), gaps.to(like).reshape(batch)

    def _solve_one(self, quadratic: Quadratic, unmatched: float | None) -> tuple[Tensor, float]:
        """The column of each row, and the gap; a pair is weighed against leaving both of its nodes alone."""
        linear, partial = quadratic.node.double().numpy() - 2 * (unmatched or 0.0), unmatched is not None
        start = graduated(quadratic, linear, partial, self.tau, self.steps)
        return self._best_of_starts(Climb.of(quadratic, linear, start, partial))

    def _best_of_starts(self, climb: Climb) -> tuple[Tensor, float]:
        """The best columns, and the gap of the first start."""
        generator = torch.Generator().manual_seed(0)
        best = first = climb.run(self.max_iter, self.tol)
        for _ in range(self.restarts):
            other = climb.towards(_random_columns(climb.linear.shape, generator), 0.5).run(self.max_iter, self.tol)
            if other.value > best.value:
                best = other
        return torch.from_numpy(best.columns), first.gap


def _random_columns(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The column of each row in a random full matching, -1 for rows without one."""
    n, m = shape
    columns, pairs = torch.full((n,), -1), min(n, m)
    columns[torch.randperm(n, generator=generator)[:pairs]] = torch.randperm(m, generator=generator)[:pairs]
    return columns
