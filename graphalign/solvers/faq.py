"""Second-order graph matching by Frank-Wolfe on the edge-factorised affinity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ..arguments import check_count, check_not_negative, check_positive, check_whole
from ..compatibility import SolverTraits
from ..factors import Factors
from ..problem import Problem, Solution
from .assignment import Array
from .bounds import gilmore_lawler
from .candidate_faq import Settings, faq_on_candidates
from .climb import Climb, value_at
from .exchange import exchanges_of
from .graduated import LAST, feasible, graduated
from .one_by_one import One, solve_one_by_one
from .preparation import check_problem
from .quadratic import Products, Quadratic

LOOKS = 2_000_000  # at exchanges, in the search of one problem
MOST = 3000
TWICE = range(64, 301)  # nodes: the search has fewer than 1,000 steps, and half of it helps less than a second climb
# Of `Factors` of more pairs than this only some are examined, and so many of each row.
ALL_PAIRS, CANDIDATES = 2**24, 16


@dataclass(frozen=True)
class FAQ(SolverTraits):
    r"""Fast approximate quadratic programming: Frank-Wolfe steps to a good matching for node and edge scores.

    $$\max_X \; \langle S, X\rangle + \sum K_{(ij),(ab)} X_{ia} X_{jb}$$

    Frank-Wolfe on the relaxed problem: at the gradient $G$ of the current $X$, solve the linear assignment
    $D = \arg\max \langle G, D\rangle$, move towards it by exact line search, stop when that gains nothing; the best
    vertex met on the way is kept. The first start comes from a few steps of graduated assignment, which replace the
    linear assignment by Sinkhorn plans of falling temperature, or is `Problem.init`. Then partners are exchanged as
    long as that gains, and with edge scores in factors a tabu search looks for better matchings beyond. With factors
    and 64 to 300 nodes, where the search is short, a second start comes from plans of still lower temperature, and the
    better result counts. The problem is NP-hard: the answer is a local optimum. A problem without edge scores is solved
    exactly.

    Constants that change no matching change no answer: node scores are centred first, and tolerance and temperature
    are relative to how far gains differ. Random choices draw from a fixed sequence, over nodes in an order that does
    not depend on their numbers.

    When to use it: whenever edges matter.

    Cost: a few to some tens of iterations. Each is a linear assignment and the gradient at its solution. With edge
    scores in a table $K$, `(e, f)`, those pairs of edges suffice that meet in a matched pair of nodes, at $k$
    neighbours about $2 k |E_1|$; only the start takes products with $K$, two for each of its steps. With factors, time
    and memory are those of the two graphs: $|E| n$ for sparse ones, $n^3$ for dense ones; no table is made. The
    $n^2 \times n^2$ matrix never is. An exchange is examined in constant time. The search, and exchanges by the
    compiled engine, need `numba` (the extra `fast`); without it exchanges are made one by one, and there is no search.
    One problem after the other, on the CPU, as a batch would run as long as its slowest item.

    Many nodes: with `candidates` only some pairs of each row are examined, those of the best node scores and those
    that edges ask for. At a matching $D$ a pair gains $S_{ia} + \sum_r (A_r D B_r^\top + A_r^\top D B_r)_{ia}$; where
    that is more than its nodes have now, by the prices of the last linear assignment, it joins; the climb continues.
    Time and memory of a step are those of the graphs and of the candidates, and no table of scores is made: node scores
    may be `Factors`. Scores in a sparse tensor list all pairs that are allowed. There are no exchanges and no search.

    Args:
        max_iter: Most Frank-Wolfe iterations of one start.
        tol: Stop when the next step promises less than this share of the spread of the gains.
        restarts: Further starts, mixtures with random permutations, of which the best result counts.
        tau: Temperature at which graduated assignment begins, relative to how far entries of the gradient are from
            their mean; it ends at 0.3 of that.
        steps: Steps of graduated assignment. None of them would be a start that knows little of the edges; more than
            the default gain little.
        exchanges: Steps of the tabu search after each climb, each of which looks at all exchanges; None for as many as
            take about the time of the climb, 3,000 at most.
        seed: Of random starts and of the search.
        candidates: How many pairs of each row are examined first, and how many may join at once; the problem must be a
            single one with edge scores in factors. None for all pairs; of `Factors` of more than 16 million pairs, 16.

    Raises:
        ValueError: `max_iter`, `steps` or `candidates` is not a whole number of at least 1, `restarts`, `exchanges`
            or `seed` is a negative one, `tol` is negative, or `tau` is not above 0.

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
        start: Gold and Rangarajan, "A graduated assignment algorithm for graph matching", PAMI 1996; the search:
        Taillard, "Robust taboo search for the quadratic assignment problem", Parallel Computing 1991.
    """

    max_iter: int = 30
    tol: float = 1e-5
    restarts: int = 0
    tau: float = 0.1
    steps: int = 12
    exchanges: int | None = None
    seed: int = 0
    candidates: int | None = None

    order: ClassVar[int] = 2
    takes_init: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count(self, "max_iter", "steps")
        check_not_negative(self, "tol")
        check_whole(self, "restarts", "seed")
        if self.exchanges is not None:
            check_whole(self, "exchanges")
        if self.candidates is not None:
            check_count(self, "candidates")
        check_positive(self, "tau")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch.

        Returns:
            The matching; `converged`: whether it is a local optimum under exchanges, or, without these, whether the
            first start met `tol`; `residual`: what the best exchange, or the last step, would still gain, as a share.
            With candidates the matching is a sparse tensor, unless node scores are a table.
        """
        check_problem(problem, "FAQ()")
        count = self.candidates_of(problem)
        if count is not None:
            if self.exchanges:
                raise ValueError("FAQ makes no exchanges among candidates: leave `exchanges` out, or `candidates`")
            settings = Settings(count, self.max_iter, self.tol, self.restarts, self.tau, self.steps, self.seed)
            return faq_on_candidates(problem, settings)
        return solve_one_by_one(problem, self, self._solve_one)

    def candidates_of(self, problem: Problem) -> int | None:
        """Return how many pairs of each row are examined first; None for all pairs."""
        scores = problem.scores
        if not scores.has_edges:
            return None
        if self.candidates is not None or scores.is_table:
            return self.candidates
        few = isinstance(scores, Factors) and scores.frame.numel() <= ALL_PAIRS
        return None if few else CANDIDATES

    def _solve_one(self, problem: Quadratic) -> One:
        start = graduated(problem, self.tau, self.steps) if problem.start is None else feasible(problem, problem.start)
        # Random choices and ties below then do not depend on the numbering of the nodes.
        rows, cols = np.argsort((start**2).sum(1), kind="stable"), np.argsort((start**2).sum(0), kind="stable")
        start = start[rows][:, cols]
        ordered = problem.reordered(rows, cols)
        climbs = self._climbs(ordered, start)
        del start
        columns, residual = self._best_of(ordered, climbs)
        found = np.full(len(rows), -1)
        found[rows] = np.where(columns >= 0, cols[columns], -1)
        return One(found, residual, gilmore_lawler(ordered))

    def _climbs(self, problem: Quadratic, start: Array) -> Iterator[Climb]:
        """Yield climbs from `start`, from a colder plan where the search is short, and from random mixtures."""
        generator = torch.Generator().manual_seed(self.seed)
        yield Climb.of(problem, start.copy() if self.restarts else start)
        if not self.restarts:
            del start
        if self._twice(problem):
            yield Climb.of(problem, graduated(problem, LAST * self.tau, self.steps))
        for _ in range(self.restarts):
            yield Climb.of(problem, start.copy()).towards(_random_columns(problem, generator), 0.5)

    def _best_of(self, problem: Quadratic, climbs: Iterator[Climb]) -> tuple[Array, float]:
        """Return the best end of all climbs, and what its best exchange, or else its last step, would still gain."""
        exchanges = exchanges_of(problem)
        best, residual, value = np.empty(0, np.int64), np.inf, -np.inf
        for number, climb in enumerate(climbs):
            columns, other, left = climb.run(self.max_iter, self.tol)
            del climb
            if exchanges is not None:
                columns, left = exchanges.improve(columns, self._search(problem), self.seed + number)
                other = value_at(problem, columns)
            if other > value:
                best, residual, value = columns, left, other
        return best, residual

    def _twice(self, problem: Quadratic) -> bool:
        """Whether there is a second start without being asked for."""
        return problem.start is None and isinstance(problem.edges, Products) and _size(problem) in TWICE

    def _search(self, problem: Quadratic) -> int:
        """How many steps a search has: by default as many as take about the time of the climb."""
        if self.exchanges is not None:
            return self.exchanges
        size, looks = _size(problem), LOOKS // 2 if self._twice(problem) else LOOKS
        return min(MOST, int(looks // max(1, size * (size - 1) // 2)))


def _size(problem: Quadratic) -> int:
    n, m = map(int, problem.linear.shape)
    return n + m if problem.partial else max(n, m)


def _random_columns(problem: Quadratic, generator: torch.Generator) -> Array:
    """The column of each row in a random full matching, -1 for rows without one."""
    n, m = problem.linear.shape
    columns, pairs = torch.full((n,), -1), min(n, m)
    columns[torch.randperm(n, generator=generator)[:pairs]] = torch.randperm(m, generator=generator)[:pairs]
    found: Array = columns.numpy()
    return found
