"""Second-order graph matching by Frank-Wolfe on the edge-factorised affinity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import count, not_negative, positive, whole
from ..problem import NodeEdge, Problem, Solution
from .assignment import assign_columns
from .climb import Climb
from .lap import jonker_volgenant
from .prepare import items, prepare
from .quadratic import Quadratic
from .sinkhorn import Sinkhorn


@dataclass(frozen=True)
class FAQ:
    r"""A good matching for node and edge scores, $\max_X \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$.

    Frank-Wolfe on the relaxed problem: at the gradient $G$ of the current $X$, solve the linear assignment
    $D = \arg\max \langle G, D\rangle$, move towards it by exact line search, stop when that gains nothing; the best
    vertex met on the way is the answer. The first start is the Sinkhorn plan of the node scores. The problem is
    NP-hard: the answer is a local optimum. A problem without edge scores is solved exactly.

    When to use it: whenever edges matter.

    Cost: a few to some tens of iterations. Each is a linear assignment and the gradient at its solution, for which
    those pairs of edges suffice that meet in a matched pair of nodes: at $k$ neighbours about $2 k |E_1|$. Only the
    start takes two products with $K$, which is kept as `(e, f)`; the $n^2 \times n^2$ matrix is never made. One
    problem after the other, on the CPU, as a batch would run as long as its slowest item.

    Args:
        max_iter: Most Frank-Wolfe iterations of one start.
        tol: Stop when the next step promises less than this share of the objective's size.
        restarts: Further starts, mixtures with random permutations (a fixed sequence), of which the best result counts.
        tau: Temperature of the first start, relative to the largest node score.

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
        Vogelstein et al., "Fast approximate quadratic programming for graph matching", PLOS ONE 2015, algorithm 1.
    """

    max_iter: int = 30
    tol: float = 1e-5
    restarts: int = 0
    tau: float = 1.0

    order: ClassVar[int] = 2
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    max_nodes: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        count(self, "max_iter")
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
        dtype = problem.scores.node.dtype
        if working.scores.edge is None:
            return Solution(NodeEdge(assign_columns(working, jonker_volgenant)).to(dtype))
        node, gap = self._solve_each(replace(working, scores=working.scores.detach()))
        value = NodeEdge(node, working.edge_matching(node)).to(dtype)
        return Solution(value, gap <= self.tol, residual=gap)

    def _solve_each(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Matchings and gaps of all problems of the batch."""
        batch, like = problem.batch_shape, problem.scores.node
        starts, real1, real2 = (x.cpu() for x in items(problem.with_scores(NodeEdge(self._start(problem)))))
        found, gaps = torch.zeros_like(starts), torch.zeros(len(starts))
        for item, quadratic in enumerate(Quadratic.split(problem)):
            rows, cols = real1[item].nonzero()[:, 0], real2[item].nonzero()[:, 0]
            if len(rows) and len(cols):
                start, small = starts[item][rows][:, cols], quadratic.restrict(rows, cols)
                columns, gaps[item] = self._best_of_starts(Climb.of(small, start, problem.unmatched))
                paired = columns >= 0
                found[item, rows[paired], cols[columns[paired]]] = 1
        return found.to(like).reshape(like.shape), gaps.to(like).reshape(batch)

    def _start(self, problem: Problem) -> Tensor:
        """The Sinkhorn plan of the node scores, which are scaled so that `tau` has a meaning for any of them."""
        node = problem.scores.node
        size = node.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(node.dtype).tiny)
        linear = Problem(NodeEdge(node / size), mask1=problem.mask1, mask2=problem.mask2)
        return Sinkhorn(tau=self.tau, max_iter=20, tol=1e-2)(linear).matching

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
