"""Second-order matching of many nodes: Frank-Wolfe among candidates, which grow where edges ask for more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..factors import Factors
from ..metrics import objective
from ..problem import NodeEdge, Problem, Solution
from .assignment import Array
from .candidate_climb import CandidateProblem, Top
from .candidate_edges import CandidateEdges, Pairs
from .candidates import Candidates
from .column_generation import Search
from .market import Infeasible
from .pair_scores import ListedScores
from .plain_problem import PlainProblem, checked, infeasible, plain_problems

# The gap of the first-order matching whose candidates are the first ones, and its most rounds.
GAP, ROUNDS = 1e-3, 100
GROWTHS = 8  # how often candidates are added
ROUNDING = 1e-9  # of the range of gains: a pair joins where it gains more than that


class Settings(NamedTuple):
    """What `FAQ` hands on.

    Args:
        candidates: Of each row at first, and how many may join at once.
        max_iter: Most steps of a climb.
        tol: Where it stops.
        restarts: Further starts.
        tau: First temperature of the first start.
        steps: Of the first start.
        seed: Of further starts.
    """

    candidates: int
    max_iter: int
    tol: float
    restarts: int
    tau: float
    steps: int
    seed: int


def faq_on_candidates(problem: Problem, settings: Settings) -> Solution:
    """Return a matching of one problem with edge scores in factors.

    Args:
        problem: Node scores as a table, as `Factors`, or in a sparse tensor, which lists all pairs that are allowed.
        settings: Of the solver.

    Raises:
        ValueError: A batch, edge scores in a table, or no matching among the pairs that are allowed.
    """
    if problem.batch_shape:
        raise ValueError("FAQ takes candidates of one problem, not of a batch: give one after the other")
    if problem.scores.factors is None:
        raise ValueError("FAQ with candidates needs edge scores as factors, not as a table of pairs of edges")
    with torch.no_grad(), torch.autocast(problem.scores.frame.device.type, enabled=False):
        (part,) = plain_problems(checked(_without_edges(problem), "FAQ"))
        try:
            columns, gap = _Growth(problem, part, settings).run() if len(part.rows) else (np.empty(0, np.int64), 0.0)
        except Infeasible as error:
            raise infeasible(part, error.row) from None
        return _solution(problem, part.pairs(columns), gap, settings.tol)


class _Growth:
    """Candidates of a problem, and climbs among them.

    Args:
        problem: The whole.
        part: Its nodes that are not fixed, at least one row.
        settings: Of the solver.
    """

    def __init__(self, problem: Problem, part: PlainProblem, settings: Settings) -> None:
        self.part, self.settings, self.partial = part, settings, problem.unmatched is not None
        whole = [(b, a) if part.turned else (a, b) for a, b in edge_matrices(problem)]
        inside = (tuple(x[ends][:, ends] for x, ends in zip(pair, part[3:5], strict=True)) for pair in whole)
        self.edges = CandidateEdges.of(tuple((a, b) for a, b in inside))
        self.fixed = _by_fixed_pairs(whole, part)
        self.lists = Candidates(*part.scores.shape)
        self.grows = not isinstance(part.scores, ListedScores)
        self.init = None if problem.init is None else _keys_of_init(problem, part)

    def run(self) -> tuple[Array, float]:
        """The best matching of all climbs, and what its last step still promised."""
        first, random = self._first_candidates(), np.random.default_rng(self.settings.seed)
        if self.grows:
            fixed = self.fixed.tocoo()
            self._add(Pairs(fixed.row.astype(np.int64), fixed.col.astype(np.int64), np.zeros(fixed.nnz)))
            self._add_around(first)
            if self.init is None:
                # A first start knows of the edges, which asks for candidates of its own.
                problem = self._problem()
                self._add_around(problem.best_matching(self._start(problem)))
            else:
                self.lists.add(self.init[0][np.isfinite(self._gains(*self._split(self.init[0])))], self.part.scores)
        if not len(self.lists.keys):  # every pair is forbidden, and all may stay alone
            return np.full(self.part.scores.shape[0], -1), 0.0
        start, keys = self._start(self._problem()), self.lists.keys
        best = self._climb(start)
        for _ in range(self.settings.restarts):
            problem = self._problem()
            vertex = problem.at(problem.best_matching(random.random(len(self.lists.keys))))
            other = self._climb((self._carried(keys, start) + vertex) / 2)
            best = other if other.value > best.value else best
        return best.columns, best.gap

    def _first_candidates(self) -> Array:
        """List the best pairs by node scores, and those of the best matching by them, which is returned."""
        part = self.part
        if isinstance(part.scores, ListedScores):
            self.lists.merge(part.scores.keys, part.scores.values)
            empty = np.flatnonzero(np.diff(self.lists.begin) == 0)
            if len(empty) and not self.partial:
                raise Infeasible(int(empty[0]))
            return self._problem().best_matching(self._gains(*self._split(self.lists.keys)))
        search = Search(part.scores, part.alone, part.floor, k=self.settings.candidates, gap=GAP)
        found, self.lists = search.run(ROUNDS), search.lists
        rows = np.flatnonzero(found.columns >= 0)
        self.lists.add(rows * self.lists.m + found.columns[rows], part.scores)
        return found.columns

    def _start(self, problem: CandidateProblem) -> Array:
        if self.init is None:
            return problem.graduated(self.settings.tau, self.settings.steps)
        keys, values = self.init
        known = np.isin(keys, self.lists.keys)
        return problem.feasible(self._carried(keys[known], values[known]))

    def _carried(self, keys: Array, x: Array) -> Array:
        """A relaxed matching at the candidates of now, from some of them."""
        out = np.zeros(len(self.lists.keys))
        out[np.searchsorted(self.lists.keys, keys)] = x
        return out

    def _climb(self, x: Array) -> Top:
        """Climb, add candidates that gain at the matching found, and continue; the best matching met."""
        problem = self._problem()
        best = last = problem.climb(x, self.settings.max_iter, self.settings.tol)
        for _ in range(GROWTHS if self.grows else 0):
            keys = self.lists.keys
            if not self._add_around(last.columns, *problem.duals_at(last.columns)):
                break
            problem = self._problem()
            last = problem.climb(self._carried(keys, last.x), self.settings.max_iter, self.settings.tol)
            best = last if last.value > best.value else best
        return best

    def _add_around(self, columns: Array, profit: Array | None = None, price: Array | None = None) -> int:
        """Add pairs whose nodes' neighbours are matched with each other; says how many."""
        return sum(self._add(pairs, profit, price) for pairs in self.edges.around(columns))

    def _add(self, pairs: Pairs, profit: Array | None = None, price: Array | None = None) -> int:
        """Add the best of some pairs of each row: those that gain more than their nodes have now."""
        lists = self.lists
        rows, columns = pairs.rows, pairs.columns
        gains = pairs.values + self._gains(rows, columns)
        kept = np.isfinite(gains)
        if profit is not None and price is not None:
            gains = gains - profit[rows] - price[columns]
            kept &= gains > ROUNDING * (float(np.ptp(lists.scores)) if len(lists.scores) else 0.0)
        rows, columns, gains = rows[kept], columns[kept], gains[kept]
        order = np.lexsort((columns, -gains, rows))
        rows, columns = rows[order], columns[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        chosen = rank < self.settings.candidates
        return lists.add(rows[chosen] * lists.m + columns[chosen], self.part.scores)

    def _problem(self) -> CandidateProblem:
        return CandidateProblem(self.lists, self._gains(*self._split(self.lists.keys)), self.edges, self.partial)

    def _split(self, keys: Array) -> tuple[Array, Array]:
        return keys // self.lists.m, keys % self.lists.m

    def _gains(self, rows: Array, columns: Array) -> Array:
        """What pairs score with each other and with fixed ones; if partial, beyond leaving their nodes alone."""
        gains: Array = self.part.scores.exact(rows, columns)
        if self.fixed.nnz and len(rows):  # without places scipy returns no array
            gains = gains + np.asarray(self.fixed[rows, columns]).ravel()
        return gains - self.part.alone[rows] - self.part.floor[columns] if self.partial else gains


def edge_matrices(problem: Problem) -> list[tuple[Any, Any]]:
    """Return the matrices $A_r$ and $B_r$ of real edges, float64, in compressed sparse rows; equal edges add up."""
    from scipy.sparse import csr_array

    scores, n, m = problem.scores, *problem.scores.frame.shape[-2:]
    assert scores.factors is not None
    sides = []
    for edges, factor, real, size in zip(
        (problem.edges1, problem.edges2), scores.factors, problem.real_edges(), (n, m), strict=True
    ):
        assert edges is not None
        kept = real.cpu()
        ends, weights = edges.cpu()[:, kept].numpy(), factor.detach().double().cpu()[kept].numpy()
        if not np.isfinite(weights).all():
            raise ValueError("FAQ got edge scores that are not finite")
        sides.append([csr_array((column, (ends[0], ends[1])), (size, size)) for column in weights.T])
    return list(zip(*sides, strict=True))


def _by_fixed_pairs(whole: list[tuple[Any, Any]], part: PlainProblem) -> Any:
    """What pairs of edges between fixed pairs and others give to a pair of nodes, `(n, m)`, sparse."""
    first, second = part.seeds.T[::-1] if part.turned else part.seeds.T
    a_sides = [(x[part.rows][:, first], y[part.columns][:, second]) for a, b in whole for x, y in ((a, b), (a.T, b.T))]
    return sum(x @ y.T for x, y in a_sides).tocsr()


def _keys_of_init(problem: Problem, part: PlainProblem) -> tuple[Array, Array]:
    """The pairs of a warm start, as numbers of pairs of the part, and their mass."""
    init, (n, m) = problem.init, problem.scores.frame.shape
    if not isinstance(init, Tensor) or tuple(init.shape) != (n, m):
        raise ValueError(f"`init` must be a matching ({n}, {m}), relaxed or not, dense or sparse")
    pairs = init.detach().double().cpu().to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
    rows, columns = pairs.indices().numpy()[::-1] if part.turned else pairs.indices().numpy()
    place = [np.full(m if part.turned else n, -1), np.full(n if part.turned else m, -1)]
    place[0][part.rows], place[1][part.columns] = np.arange(len(part.rows)), np.arange(len(part.columns))
    rows, columns = place[0][rows], place[1][columns]
    kept = (rows >= 0) & (columns >= 0)
    return rows[kept] * len(part.columns) + columns[kept], pairs.values().numpy()[kept]


def _without_edges(problem: Problem) -> Problem:
    scores = problem.scores
    node = scores.without_edges() if isinstance(scores, Factors) else NodeEdge(scores.node)
    return replace(problem, scores=node, edges1=None, edges2=None, edge_mask1=None, edge_mask2=None, init=None)


def _solution(problem: Problem, pairs: tuple[Array, Array], gap: float, tol: float) -> Solution:
    frame = problem.scores.frame
    order = np.argsort(pairs[0])
    places = torch.from_numpy(np.stack(pairs)[:, order]).to(frame.device)
    ones = torch.ones(places.shape[1], dtype=frame.dtype, device=frame.device)
    matching = torch.sparse_coo_tensor(places, ones, frame.shape, check_invariants=True).coalesce()
    value = problem.value(matching)
    total = objective(problem.with_scores(problem.scores.to(torch.float64)), value.to(torch.float64))
    if problem.scores.is_table:
        value = replace(value, node=matching.to_dense())
    residual = torch.tensor(gap, dtype=frame.dtype, device=frame.device)
    return Solution(value, residual <= tol, residual=residual, objective=total)
