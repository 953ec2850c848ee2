"""Second-order graph matching by Frank-Wolfe on the edge-factorised affinity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..arguments import count, not_negative, positive, whole
from ..problem import NodeEdge, Problem, Solution
from .assignment import assign, maximise
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

    When to use it: whenever edges matter; no other second-order solver here goes beyond 8 nodes.

    Cost: a few to some tens of iterations, each a linear assignment and two products with $K$, which is kept as
    `(e, f)`; the $n^2 \times n^2$ matrix is never made. One problem after the other on the CPU, as a batch would run
    as long as its slowest item.

    Args:
        max_iter: Most Frank-Wolfe iterations of one start.
        tol: Stop when the next step promises less than this share of the objective's size.
        restarts: Further starts, mixtures with random permutations (a fixed sequence), of which the best result counts.
        tau: Temperature of the first start, relative to the largest node score.

    References:
        Vogelstein et al., "Fast approximate quadratic programming for graph matching", PLOS ONE 2015, algorithm 1.
    """

    max_iter: int = 30
    tol: float = 1e-5
    restarts: int = 0
    tau: float = 0.1

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
            return Solution(NodeEdge(assign(working, jonker_volgenant)).to(dtype))
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
                small = quadratic.restrict(rows, cols)
                x, gaps[item] = self._best_of_starts(small, starts[item][rows][:, cols], problem.unmatched)
                found[item, rows[:, None], cols] = x
        return found.to(like).reshape(like.shape), gaps.to(like).reshape(batch)

    def _start(self, problem: Problem) -> Tensor:
        """The Sinkhorn plan of the node scores, which are scaled so that `tau` has a meaning for any of them."""
        node = problem.scores.node
        size = node.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(node.dtype).tiny)
        linear = Problem(NodeEdge(node / size), mask1=problem.mask1, mask2=problem.mask2)
        return Sinkhorn(tau=self.tau, max_iter=20, tol=1e-2)(linear).matching

    def _best_of_starts(self, quadratic: Quadratic, start: Tensor, unmatched: float | None) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        best, value, gap = self._climb(quadratic, start, unmatched)
        for _ in range(self.restarts):
            other = 0.5 * start + 0.5 * _random_vertex(start, generator)
            x, reached, _ = self._climb(quadratic, other, unmatched)
            if reached > value:
                best, value = x, reached
        return best, gap

    def _climb(self, quadratic: Quadratic, x: Tensor, unmatched: float | None) -> tuple[Tensor, Tensor, Tensor]:
        """Frank-Wolfe from `x`: the best vertex met, its value, and the relative gap at the end."""
        linear = quadratic.node if unmatched is None else quadratic.node - 2 * unmatched
        product, gap = quadratic.product(x), torch.tensor(torch.inf)
        best, value = x, torch.tensor(-torch.inf)
        for _ in range(self.max_iter):
            gradient = linear + product + quadratic.transposed_product(x)
            vertex = _vertex(gradient, unmatched is not None)
            at_vertex = quadratic.product(vertex)
            reached = ((linear + at_vertex) * vertex).sum()
            if reached > value:
                best, value = vertex, reached
            step, change = vertex - x, at_vertex - product
            slope, curvature = (gradient * step).sum(), (change * step).sum()
            gap = slope / ((linear + product) * x).sum().abs().clamp_min(1e-12)
            if gap <= self.tol:
                break
            t = (-slope / (2 * curvature)).clamp(0, 1) if curvature < 0 else 1.0
            x, product = x + t * step, product + t * change
        rounded = _vertex(x - 0.5 if unmatched is not None else x, unmatched is not None)
        reached = ((linear + quadratic.product(rounded)) * rounded).sum()
        return (rounded, reached, gap) if reached > value else (best, value, gap)


def _vertex(gains: Tensor, partial: bool) -> Tensor:
    """The matching of highest gain; if `partial`, without the pairs that gain nothing."""
    found = maximise(gains.double().numpy()[None], 0.0 if partial else None, jonker_volgenant)
    return torch.from_numpy(found[0]).to(gains)


def _random_vertex(like: Tensor, generator: torch.Generator) -> Tensor:
    n, m = like.shape
    vertex = torch.zeros_like(like)
    pairs = min(n, m)
    vertex[torch.randperm(n, generator=generator)[:pairs], torch.randperm(m, generator=generator)[:pairs]] = 1
    return vertex
