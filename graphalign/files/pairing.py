"""Two sets of embeddings, matched: scores, the solver, and the pairs with how sure they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from graphalign import Factors, ModalityGraph, NodeEdge, Problem, Solution, components, objective
from graphalign.compatibility import order_of
from graphalign.counts import count_of
from graphalign.errors import ConfigError, DataError
from graphalign.factors import BLOCKWISE
from graphalign.files.constraints import Constraints
from graphalign.files.embeddings import Embeddings
from graphalign.files.room import check_room, dense_bytes, sparse_bytes
from graphalign.files.sureness import sureness
from graphalign.solvers import Lap, Sparse
from graphalign.solvers.pair_scores import FactorScores, PairScores, TableScores
from graphalign.solvers.sparse import Progress

NO_CONSTRAINTS = Constraints()
#: Called with how far the solver `sparse` is.
Report = Callable[[Progress], None]


class Parts(NamedTuple):
    """Options of a matching; `unmatched` as in `graphalign.Problem`."""

    solver: Any
    graph: Any
    affinity: Any
    unmatched: float | None = None


@dataclass(frozen=True, eq=False)
class Pairing:
    """A matching of two files, one entry for each pair in the order of the rows.

    Args:
        first: the rows.
        second: the columns.
        scores: node scores of all pairs of rows, by blocks.
        rows: row of each pair.
        columns: column of each pair.
        score: score of each pair.
        mass: entry of the solver's matching, 1 unless the solver is relaxed.
        mutual: whether the pair has the highest score of its row and of its column.
        margin: its score less the highest other score in its row or column; negative where there is a higher one.
        objective: what the solver maximised, at its matching.
        bound: upper bound on the objective of any matching; None from solvers without one.
        gap: (bound - objective) as a share; None without a bound.
        converged: whether the solver met its tolerance; None where that has no meaning.
        residual: how far from feasible or optimal it stopped; None where it does not say.
        ms: milliseconds in the solver.
        interrupted: whether a person stopped it, so that this is the best matching until then.
        judged: whether `mutual` and `margin` are known; an interrupted search leaves them out.
    """

    first: Embeddings
    second: Embeddings
    scores: PairScores
    rows: np.ndarray
    columns: np.ndarray
    score: np.ndarray
    mass: np.ndarray
    mutual: np.ndarray
    margin: np.ndarray
    objective: float
    bound: float | None
    gap: float | None
    converged: bool | None
    residual: float | None
    ms: float
    interrupted: bool = False
    judged: bool = True

    @property
    def name(self) -> str:
        return f"{self.first.name}-{self.second.name}"


class Solved(NamedTuple):
    """The result of a solver on one problem."""

    solution: Solution
    ms: float
    interrupted: bool


@torch.no_grad()
def pair(
    first: Embeddings,
    second: Embeddings,
    parts: Parts,
    report: Report | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
    stop: Callable[[], bool] = lambda: False,
) -> Pairing:
    """Match the samples of two files.

    Args:
        first: The rows.
        second: The columns.
        parts: The solver and the rest.
        report: Called while the solver `sparse` works. From then on a KeyboardInterrupt ends it, and the best matching
            until then is returned.
        constraints: Pairs that must be made, and pairs that must not.
        stop: Asked while the solver `sparse` works, and afterwards; True is as a KeyboardInterrupt from `report`.

    Raises:
        ConfigError: The solver cannot take this problem, or no matching meets the constraints.
        DataError: The widths do not fit the affinity, or the problem does not fit into memory.
    """
    check_widths(first, second, parts)
    check_memory(first, second, parts)
    warm_up(parts)
    problem = constrained(problem_of(first, second, parts), constraints.seeds, constraints.mask(first, second))
    if isinstance(parts.solver, Sparse):
        solved = best_so_far(parts.solver, problem, report and watched(report, stop))
    else:
        solved = timed(parts, problem)
    solution = solved.solution
    rows, columns, mass = rounded(solution, parts.unmatched)
    scores = scores_of(problem)
    known = sureness(scores, rows, columns, lambda: solved.interrupted or stop())
    total = solution.objective
    return Pairing(
        first=first, second=second, scores=scores, rows=rows, columns=columns, score=known.score, mass=mass,
        mutual=known.mutual, margin=known.margin,
        objective=float(objective(problem, solution.value) if total is None else total),
        bound=figure(solution.bound), gap=figure(solution.gap),
        converged=None if solution.converged is None else bool(solution.converged),
        residual=figure(solution.residual), ms=solved.ms, interrupted=solved.interrupted,
        judged=known.known,
    )  # fmt: skip


def watched(report: Report, stop: Callable[[], bool]) -> Report:
    """Return a report that ends the search where somebody asks for that."""

    def look(progress: Progress) -> None:
        """Pass the progress on, and raise KeyboardInterrupt if the search is to stop."""
        report(progress)
        if stop():
            raise KeyboardInterrupt

    return look


def figure(value: torch.Tensor | None) -> float | None:
    return None if value is None else float(value)


def timed(parts: Parts, problem: Problem) -> Solved:
    began = time.perf_counter()
    solution = solve(parts.solver, problem)
    return Solved(solution, 1000 * (time.perf_counter() - began), interrupted=False)


def best_so_far(solver: Sparse, problem: Problem, report: Report | None) -> Solved:
    """The solution of `sparse`, or, where a person stops it, the best matching until then."""
    latest: list[Progress] = []

    def keep(progress: Progress) -> None:
        latest[:] = [progress]
        if report is not None:
            report(progress)

    began = time.perf_counter()
    try:
        solution, stopped = solve(replace(solver, progress=keep), problem), False
    except KeyboardInterrupt:
        if report is None or not latest or latest[0].objective == -np.inf:
            raise
        solution, stopped = stopped_solution(problem, latest[0]), True
    return Solved(solution, 1000 * (time.perf_counter() - began), interrupted=stopped)


def stopped_solution(problem: Problem, progress: Progress) -> Solution:
    places = torch.from_numpy(np.stack([progress.rows, progress.columns]))
    shape = problem.scores.frame.shape
    matching = torch.sparse_coo_tensor(places, torch.ones(places.shape[1]), shape, check_invariants=True).coalesce()
    total, bound = (torch.tensor(x, dtype=torch.float64) for x in (progress.objective, progress.bound))
    return Solution(NodeEdge(matching), torch.tensor(False), None, None, bound, total)


def warm_up(parts: Parts) -> None:
    """One tiny problem, so that the time of the real one is free of imports and compilation."""
    tiny = torch.eye(2)
    solve(parts.solver, Problem(NodeEdge(tiny), unmatched=parts.unmatched))


def problem_of(first: Embeddings, second: Embeddings, parts: Parts) -> Problem:
    """The problem of two files; graphs are made only for solvers that read edges."""
    x, y = (torch.from_numpy(side.x) for side in (first, second))
    precision = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(precision), y.to(precision)
    if order_of(parts.solver) == 1:
        scores: NodeEdge
        if isinstance(parts.affinity, BLOCKWISE):
            scores = Factors(x, y, parts.affinity)
            scores = scores if isinstance(parts.solver, Sparse) else NodeEdge(scores.node)
        else:
            none = torch.zeros(2, 0, dtype=torch.long)
            scores = parts.affinity(ModalityGraph(x, none), ModalityGraph(y, none))
        return Problem(scores, unmatched=parts.unmatched)
    left, right = parts.graph(x), parts.graph(y)
    pairs = left.edge_index.shape[-1] * right.edge_index.shape[-1]
    check_room(3.0 * pairs * first.x.itemsize, f"scoring {pairs:,} pairs of edges")
    scores = parts.affinity(left, right, order=2)
    return Problem(scores, left.edge_index, right.edge_index, unmatched=parts.unmatched)


def whole_graphs(sides: Sequence[Embeddings], parts: Parts) -> list[str]:
    """Return a line for each file with too few rows for the neighbours that are requested: all of them are joined."""
    k = getattr(parts.graph, "k", None)
    if k is None or order_of(parts.solver) == 1:
        return []
    small = [side for side in sides if len(side.x) <= k]
    return [
        f"{side.path}: {count_of(len(side.x), 'row')}, so {parts.graph!r} joins each with all others" for side in small
    ]


def constrained(problem: Problem, seeds: np.ndarray | None, forbidden: torch.Tensor | None) -> Problem:
    if seeds is None and forbidden is None:
        return problem
    try:
        return replace(problem, seeds=None if seeds is None else torch.from_numpy(seeds), forbidden=forbidden)
    except ValueError as cause:
        raise ConfigError(
            str(cause), where="--seeds", hint="look at the pairs in the files of --seeds and --forbid"
        ) from None


def scores_of(problem: Problem) -> PairScores:
    """The node scores of all pairs, by blocks."""
    scores = problem.scores
    return FactorScores(scores) if isinstance(scores, Factors) else TableScores(scores.node)


def solve(solver: Any, problem: Problem) -> Solution:
    """The solution, with the edge part that a first-order solver leaves out where there are edge scores."""
    try:
        solution: Solution = solver(problem)
    except (ValueError, NotImplementedError) as cause:  # a solver that takes no such problem says so
        raise ConfigError(str(cause), where="--solver", hint="exgra solvers") from None
    if problem.scores.edge is not None and solution.value.edge is None:
        return replace(solution, value=NodeEdge(solution.matching, problem.edge_matching(solution.matching)))
    return solution


def rounded(solution: Solution, unmatched: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and mass of the pairs: of a relaxed matching those with the greatest mass together, each node once.

    Where samples may stay alone, a pair counts only if its row is not more surely alone.
    """
    rows, columns = solution.pairs()
    matching = solution.matching
    if matching.layout != torch.strided or one_to_one(rows, columns):
        # One-to-one already.
        mass = matching.coalesce().values() if matching.layout != torch.strided else matching[rows, columns]
    else:
        rows, columns = Lap()(Problem(NodeEdge(matching))).pairs()
        mass = matching[rows, columns]
    sure = mass > 0
    if unmatched is not None and matching.layout == torch.strided:
        sure &= mass > (1 - matching[rows].sum(-1)).clamp_min(0)
    return rows[sure].numpy(), columns[sure].numpy(), mass[sure].numpy()


def one_to_one(rows: torch.Tensor, columns: torch.Tensor) -> bool:
    return all(len(np.unique(nodes.numpy())) == len(nodes) for nodes in (rows, columns))


def check_memory(first: Embeddings, second: Embeddings, parts: Parts) -> None:
    """Refuse a problem that does not fit into memory, before anything is computed."""
    n, m, order = len(first.x), len(second.x), order_of(parts.solver)
    what = f"matching {n:,} with {m:,} samples by {type(parts.solver).__name__}"
    width = max(first.x.itemsize, second.x.itemsize)
    if isinstance(parts.solver, Sparse) and isinstance(parts.affinity, BLOCKWISE):
        check_room(sparse_bytes(n, m, first.x.shape[1], parts.solver.k, width), what)
        return
    hint = None if order == 2 else "--solver sparse needs no table of scores"
    check_room(dense_bytes(n, m, width, graphs=order == 2, lap=isinstance(parts.solver, Lap)), what, hint)


def check_widths(first: Embeddings, second: Embeddings, parts: Parts) -> None:
    """Refuse widths that the affinity cannot compare, and name affinities that can."""
    widths = first.x.shape[1], second.x.shape[1]
    order = order_of(parts.solver)
    if compares(parts.affinity, *widths, order):
        return
    say = f"{first.name} has {widths[0]} numbers in a row and {second.name} has {widths[1]}"
    known = sorted(name for name, part in components("affinity").items() if compares(part, *widths, order))
    hint = (
        "where some pairs are known, `exgra align` matches rows of any widths; else project both into one space first"
    )
    if known:
        hint = f"--affinity {known[0]} compares by structure alone; where some pairs are known, `exgra align`"
    raise DataError(f"{say}, and this affinity compares rows of one width only", where=str(second.path), hint=hint)


def compares(affinity: Any, width1: int, width2: int, order: int) -> bool:
    """Whether an affinity, or its class, takes graphs whose features have these widths."""
    edges = torch.tensor([[0, 1], [1, 0]])
    try:
        ready = affinity() if isinstance(affinity, type) else affinity
        ready(ModalityGraph(torch.eye(2, width1), edges), ModalityGraph(torch.eye(2, width2), edges), order=order)
    except (RuntimeError, ValueError, TypeError):
        return False
    return True
