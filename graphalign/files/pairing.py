"""Two sets of embeddings, matched: graphs, scores, the solver, and the pairs with how sure they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from graphalign import ModalityGraph, NodeEdge, Problem, Solution, components, objective
from graphalign.compatibility import order_of
from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import Embeddings
from graphalign.files.room import check_room
from graphalign.solvers import Lap

COPIES = 6  # of the scores that live at once: scores, matching, and what the solver works with


class Parts(NamedTuple):
    """What a matching is made with; `unmatched` as in `graphalign.Problem`."""

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
        scores: node scores (n, m).
        rows: row of each pair.
        columns: column of each pair.
        mass: entry of the solver's matching, 1 unless the solver is relaxed.
        mutual: whether the pair has the highest score of its row and of its column.
        margin: its score less the highest other score in its row or column; negative where there is a higher one.
        objective: what the solver maximised, at its matching.
        converged: whether the solver met its tolerance; None where that has no meaning.
        residual: how far from feasible or optimal it stopped; None where it does not say.
        ms: milliseconds in the solver.
    """

    first: Embeddings
    second: Embeddings
    scores: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    mass: np.ndarray
    mutual: np.ndarray
    margin: np.ndarray
    objective: float
    converged: bool | None
    residual: float | None
    ms: float

    @property
    def name(self) -> str:
        return f"{self.first.name}-{self.second.name}"


@torch.no_grad()
def pair(first: Embeddings, second: Embeddings, parts: Parts) -> Pairing:
    """Matches the samples of two files.

    Raises:
        ConfigError: The solver cannot take this problem.
        DataError: The widths do not fit the affinity, or the problem does not fit into memory.
    """
    n, m = len(first.x), len(second.x)
    check_room(4.0 * (COPIES * n * m + 3 * (n * n + m * m)), f"matching {n} with {m} samples")
    check_widths(first, second, parts)
    warm_up(parts)
    problem = problem_of(first, second, parts)
    began = time.perf_counter()
    solution = solve(parts.solver, problem)
    ms = 1000 * (time.perf_counter() - began)
    rows, columns = rounded(solution.matching, parts.unmatched)
    scores = problem.scores.node.numpy()
    mutual, margin = sureness(scores, rows, columns)
    return Pairing(
        first=first, second=second, scores=scores, rows=rows, columns=columns,
        mass=solution.matching.numpy()[rows, columns], mutual=mutual, margin=margin,
        objective=float(objective(problem, solution.value)),
        converged=None if solution.converged is None else bool(solution.converged),
        residual=None if solution.residual is None else float(solution.residual), ms=ms,
    )  # fmt: skip


def warm_up(parts: Parts) -> None:
    """One tiny problem, so that the time of the real one is free of imports and compilation."""
    tiny = torch.eye(2)
    solve(parts.solver, Problem(NodeEdge(tiny), unmatched=parts.unmatched))


def problem_of(first: Embeddings, second: Embeddings, parts: Parts) -> Problem:
    precision = torch.promote_types(torch.from_numpy(first.x).dtype, torch.from_numpy(second.x).dtype)
    order = order_of(parts.solver)
    left, right = (parts.graph(torch.from_numpy(side.x).to(precision)) for side in (first, second))
    if order == 2:
        pairs = left.edge_index.shape[-1] * right.edge_index.shape[-1]
        check_room(3.0 * pairs * first.x.itemsize, f"scoring {pairs:,} pairs of edges")
    scores = parts.affinity(left, right, order=order)
    return Problem(scores, left.edge_index, right.edge_index, unmatched=parts.unmatched)


def solve(solver: Any, problem: Problem) -> Solution:
    """The solution, with the edge part that a first-order solver leaves out where there are edge scores."""
    try:
        solution: Solution = solver(problem)
    except (ValueError, NotImplementedError) as cause:  # a solver that takes no such problem says so
        raise ConfigError(str(cause), where="--solver", hint="exgra solvers") from None
    if problem.scores.edge is not None and solution.value.edge is None:
        value = NodeEdge(solution.matching, problem.edge_matching(solution.matching))
        return Solution(value, solution.converged, solution.state, solution.residual)
    return solution


def rounded(matching: torch.Tensor, unmatched: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a matching: of a relaxed one those with the greatest mass together, each sample once.

    Where samples may stay alone, a pair counts only if its row is not more surely alone.
    """
    chosen = Lap()(Problem(NodeEdge(matching))).matching > 0.5
    if unmatched is not None:
        chosen &= matching > (1 - matching.sum(-1, keepdim=True)).clamp_min(0)
    else:
        chosen &= matching > 0
    rows, columns = chosen.nonzero(as_tuple=True)
    return rows.numpy(), columns.numpy()


def sureness(scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pair is the best of its row and column, and by how much its score leads."""
    own = scores[rows, columns]
    others = np.maximum(rivals(scores)[rows, columns], rivals(scores.T).T[rows, columns])
    margin = np.where(np.isfinite(others), own - others, np.nan)
    return own >= others, margin


def rivals(scores: np.ndarray) -> np.ndarray:
    """The highest other score of the same row, for every entry; -inf in a single column."""
    if scores.shape[1] == 1:
        return np.full_like(scores, -np.inf)
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    top = scores.argmax(1)
    out = np.repeat(first[:, None], scores.shape[1], axis=1)
    out[np.arange(len(scores)), top] = second
    return out


def check_widths(first: Embeddings, second: Embeddings, parts: Parts) -> None:
    """Refuses widths that the affinity cannot compare, and names affinities that can."""
    widths = first.x.shape[1], second.x.shape[1]
    order = order_of(parts.solver)
    if compares(parts.affinity, *widths, order):
        return
    say = f"{first.name} has {widths[0]} numbers in a row and {second.name} has {widths[1]}"
    known = sorted(name for name, part in components("affinity").items() if compares(part, *widths, order))
    hint = "project both into one space first, e.g. with the encoder that was trained for it"
    if known:
        hint = f"--affinity {known[0]} compares by structure alone; or project both into one space first"
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
