"""The whole library in one call: match two sides and get indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .adjacency import as_tensor, sparse_tensor, weighted_edges
from .arguments import check_generator
from .compatibility import order_of
from .counts import count_of
from .factors import Factors
from .metrics import objective
from .obedience import check_kept, check_solution
from .problem import NodeEdge, Problem, Solution
from .registry import build
from .solvers import FAQ, Lap, Sparse
from .solvers.plain_problem import listed


@dataclass(frozen=True, eq=False)
class Match:
    """The pairs that `match` found, and how good they are.

    Args:
        rows: Long `(k,)`, ascending: the nodes of the first side that have a partner.
        cols: Long `(k,)`: their partners.
        scores: `(k,)`: the node scores of these pairs.
        objective: Value of the maximised objective at these pairs.
        bound: Upper bound on the objective of any matching; None where the solver proves nothing.
        converged: Whether the solver met its tolerance; True of an exact solver, None where that has no meaning.
        solution: The solver's return value, with the matching as a matrix.

    Example:
        >>> from graphalign import match
        >>> found = match(scores=[[5.0, 1.0], [4.0, 3.0]])
        >>> found
        Match(2 pairs, objective=8, gap=0.0, converged=True)
        >>> found.rows, found.cols
        (tensor([0, 1]), tensor([0, 1]))
    """

    rows: Tensor
    cols: Tensor
    scores: Tensor
    objective: float
    bound: float | None
    converged: bool | None
    solution: Solution

    def __repr__(self) -> str:
        pairs = count_of(len(self.rows), "pair")
        return f"Match({pairs}, objective={self.objective:.6g}, gap={self.gap}, converged={self.converged})"

    @property
    def gap(self) -> float | None:
        """How far the objective is at most from the best one, as a share; see `Solution.gap`."""
        if self.bound is None:
            return None
        size = max(abs(self.bound), abs(self.objective))
        gap = max(self.bound - self.objective, 0.0) / size if size > 0 else 0.0
        return gap if gap > 1e-14 else 0.0


def match(
    x: Any = None,
    y: Any = None,
    *,
    scores: Any = None,
    adjacency: tuple[Any, Any] | None = None,
    solver: Any = "lap",
    seeds: Sequence[tuple[int, int]] | Tensor | None = None,
    forbidden: Any = None,
    unmatched: float | tuple[Any, Any] | None = None,
    generator: Generator | None = None,
) -> Match:
    r"""Match the rows of one side with those of another, one to one, so that the total score is highest.

    $$\max_X \; \langle S, X\rangle + \langle A X B^\top, X\rangle$$

    over the 0/1 matrices $X$ whose rows and columns sum to at most one, with $\min(n, m)$ pairs, or with any number
    where `unmatched` says what staying alone scores. $S$ is `scores`, or the cosines of the rows of `x` and `y`, or
    zero; $A$ and $B$ are `adjacency`. To minimise costs, negate them (of $A$ and $B$, one).

    Arrays, tensors, tables (what `numpy.asarray` takes) and graphs are all taken. Nothing has a gradient here: for one,
    see `differentiable`.

    Cost: that of the solver. $A X B^\top$ is never written out as a table of pairs of edges. With features, `sparse`
    and `faq(candidates=16)` make no table of scores either, and take very many rows.

    Args:
        x: Feature rows `(n, d)`, or a graph with `x` and `edge_index` (a `ModalityGraph`, PyTorch Geometric's `Data`),
            whose edges a solver of second order reads too.
        y: The same of the second side, `(m, d)`.
        scores: $S$, `(n, m)`, in place of features; higher is better, and -inf forbids a pair. A sparse matrix holds
            the only pairs that are allowed; the solvers `sparse` and `faq` take one.
        adjacency: $A$ and $B$, each a square matrix (dense, `torch.sparse`, `scipy.sparse`), a networkx graph or a
            graph with `edge_index`; directed and weighted. With attributes of several numbers on each edge, products of
            edges are inner products of these. Needs a solver of second order, such as `faq`.
        solver: A name or call, as in `"faq(restarts=4)"`, or a solver.
        seeds: Pairs (row, column) that must be made.
        forbidden: Pairs that must not be made: bool `(n, m)`, dense or sparse, True at those, or a list of tuples
            (row, column).
        unmatched: Score of leaving one node alone, a number or one for each side or node; see `Problem`.
        generator: Source of the random starts of solvers that have some, such as `faq`; None for a fixed one.

    Raises:
        TypeError: Something is of a wrong type.
        ValueError: Neither features nor scores nor adjacency are given, or some that do not fit each other; the solver
            is unknown or cannot use what is given; or the constraints leave no matching, with the row.

    Example: rows 0 and 1 both like column 0; then a path and a ring with one chord, by their edges alone.

        >>> import networkx
        >>> from graphalign import match
        >>> found = match(scores=[[5.0, 1.0], [4.0, 3.0]])
        >>> found.rows.tolist(), found.cols.tolist(), found.objective
        ([0, 1], [0, 1], 8.0)
        >>> first = networkx.lollipop_graph(3, 3)
        >>> second = networkx.relabel_nodes(first, dict(zip(range(6), [4, 0, 5, 2, 1, 3])))
        >>> match(adjacency=(first, second), solver="faq").objective == 2 * first.number_of_edges()
        True
    """
    check_generator(generator)
    chosen = _seeded(build("solver", solver) if isinstance(solver, str) else solver, generator)
    problem = _problem(x, y, scores, adjacency, chosen)
    shape = problem.scores.frame.shape
    problem = replace(
        problem, seeds=seeds, forbidden=_mask(forbidden, shape, sparse=not problem.scores.is_table),
        unmatched=_alone(unmatched),
    )  # fmt: skip
    solution = chosen(problem)
    check_solution(solution, chosen)
    rows, cols, total = _pairs(problem, solution)
    if problem.seeds is not None or problem.forbidden is not None:
        check_kept(problem, rows, cols, chosen)
    bound = None if solution.bound is None else float(solution.bound)
    converged = None if solution.converged is None else bool(solution.converged)
    return Match(
        rows=rows,
        cols=cols,
        scores=_scores_at(problem, rows, cols),
        objective=total,
        bound=bound,
        converged=True if getattr(chosen, "exact", False) else converged,
        solution=solution,
    )


def _problem(x: Any, y: Any, scores: Any, adjacency: tuple[Any, Any] | None, solver: Any) -> Problem:
    """The problem without its constraints."""
    order = order_of(solver)
    graphs = [side for side in (x, y) if hasattr(side, "edge_index")]
    if len(graphs) == 1:
        raise ValueError("x and y must both be graphs, or both feature rows")
    if graphs and adjacency is None and order == 2:
        adjacency = (x, y)
    node = _node_scores(x, y, scores, solver)
    if adjacency is None:
        if node is None:
            raise ValueError("there is nothing to match: give x and y, scores, or adjacency=(A, B)")
        return Problem(node)
    if order == 1:
        raise ValueError("a solver of first order cannot use adjacency: use solver='faq', or leave adjacency out")
    if not isinstance(adjacency, tuple | list) or len(adjacency) != 2:
        raise ValueError("`adjacency` must be a pair (A, B), one matrix or graph for each side")
    first, second = (weighted_edges(graph, f"adjacency[{side}]") for side, graph in enumerate(adjacency))
    if first.weights.shape[-1] != second.weights.shape[-1]:
        widths = first.weights.shape[-1], second.weights.shape[-1]
        raise ValueError(f"edges of both graphs need attributes of one width; got {widths[0]} and {widths[1]}")
    if node is None:
        node = NodeEdge(first.weights.new_zeros(first.nodes, second.nodes))
    if tuple(node.frame.shape) != (first.nodes, second.nodes):
        raise ValueError(
            f"scores are of {tuple(node.frame.shape)} nodes, and adjacency of {(first.nodes, second.nodes)}"
        )
    parts = (node.frame, first.weights, second.weights)
    dtype = reduce(torch.promote_types, (part.dtype for part in parts))
    factors = first.weights.detach().to(dtype), second.weights.detach().to(dtype)
    return Problem(_with_edges(node.detach().to(dtype), factors), first.edges, second.edges)


def _with_edges(node: NodeEdge, factors: tuple[Tensor, Tensor]) -> NodeEdge:
    if isinstance(node, Factors):
        return Factors(node.x, node.y, node.affinity, factors=factors)
    return NodeEdge(node.node, factors=factors)


def _node_scores(x: Any, y: Any, scores: Any, solver: Any) -> NodeEdge | None:
    if scores is not None:
        if x is not None or y is not None:
            raise ValueError("give feature rows x and y, or their scores, not both")
        if hasattr(scores, "tocoo") or (isinstance(scores, Tensor) and scores.layout != torch.strided):
            if not isinstance(solver, FAQ | Sparse):
                raise TypeError(
                    "`scores` must be a dense table (n, m); scores of some pairs alone are matched by solver='sparse', "
                    "or, with adjacency, by solver='faq'"
                )
            return NodeEdge(sparse_tensor(scores, "scores").detach())
        table = as_tensor(scores, "scores").detach()
        if table.dim() != 2:
            raise ValueError(f"`scores` must be a table (n, m); got the shape {tuple(table.shape)}")
        return NodeEdge(table)
    if (x is None) != (y is None):
        raise ValueError("give both x and y, feature rows of two sides; or a table of scores, match(scores=C)")
    if x is None:
        return None
    sides = [as_tensor(getattr(side, "x", side), name).detach() for side, name in ((x, "x"), (y, "y"))]
    if any(side.dim() != 2 for side in sides) or sides[0].shape[1] != sides[1].shape[1]:
        shapes = " and ".join(str(tuple(side.shape)) for side in sides)
        raise ValueError(
            f"x and y need the shapes (n, d) and (m, d), features of one width; got {shapes}; graphalign.align matches "
            "rows of any widths, from some known pairs"
        )
    if any(not bool(side.isfinite().all()) for side in sides):
        raise ValueError("features must be finite; leave out the rows that are not")
    dtype = torch.promote_types(sides[0].dtype, sides[1].dtype)
    factors = Factors(sides[0].to(dtype), sides[1].to(dtype))
    return factors if isinstance(solver, FAQ | Sparse) else NodeEdge(factors.node)


def _matching(problem: Problem, rows: Tensor, cols: Tensor) -> Tensor:
    """The pairs as a matrix, float64: a table where scores are one, else a sparse tensor."""
    shape, ones = problem.scores.frame.shape, torch.ones(len(rows), dtype=torch.float64)
    if problem.scores.is_table:
        return torch.zeros(shape, dtype=torch.float64).index_put((rows, cols), ones)
    return torch.sparse_coo_tensor(torch.stack([rows, cols]), ones, shape, check_invariants=True).coalesce()


def _scores_at(problem: Problem, rows: Tensor, cols: Tensor) -> Tensor:
    """The node scores of pairs."""
    scores = problem.scores
    if isinstance(scores, Factors):
        return scores.pairs(rows, cols)
    if scores.is_table:
        return scores.node[rows, cols]
    return torch.from_numpy(listed(scores.node).exact(rows.numpy(), cols.numpy())).to(scores.node.dtype)


def _mask(forbidden: Any, shape: torch.Size, *, sparse: bool) -> Tensor | None:
    """Bool `(n, m)` of a mask, or of a list of pairs; sparse where that is wanted and it is not given as a table."""
    if forbidden is None:
        return None
    as_pairs = _holds_tuples(forbidden)
    if hasattr(forbidden, "tocoo"):
        pairs, as_pairs = forbidden.tocoo(), True
        kept = pairs.data.astype(bool)
        forbidden = torch.from_numpy(np.stack([pairs.row[kept], pairs.col[kept]], 1).astype(np.int64))
    elif isinstance(forbidden, set | frozenset):
        forbidden = sorted(forbidden)
    given = forbidden if isinstance(forbidden, Tensor) else torch.as_tensor(forbidden)
    if given.dtype == torch.bool or given.numel() == 0:
        return (given if sparse else given.to_dense()) if given.numel() else None
    if given.shape == shape and not as_pairs and bool(((given == 0) | (given == 1)).all()):
        raise ValueError(
            "`forbidden` holds whole numbers 0 and 1 in the shape of the scores, which may be a mask or pairs: give a "
            "mask as bool, and pairs as a list of tuples, [(row, column), ...]"
        )
    if given.dim() != 2 or given.shape[1] != 2 or given.is_floating_point():
        raise ValueError(f"`forbidden` must be bool {tuple(shape)}, or a list of pairs (row, column)")
    rows, cols = given.long().T
    if bool(((given < 0).any(1) | (rows >= shape[0]) | (cols >= shape[1])).any()):
        raise ValueError(f"`forbidden` holds a pair outside of {shape[0]} rows and {shape[1]} columns")
    places, ones = torch.unique(torch.stack([rows, cols]), dim=1), torch.ones((), dtype=torch.bool)
    mask = torch.sparse_coo_tensor(places, ones.expand(places.shape[1]), shape, check_invariants=True)
    return mask if sparse else mask.to_dense()


def _holds_tuples(pairs: Any) -> bool:
    return isinstance(pairs, list | tuple | set | frozenset) and all(isinstance(pair, tuple) for pair in pairs)


def _alone(unmatched: Any) -> Any:
    if not isinstance(unmatched, tuple | list):
        return unmatched
    return tuple(u if isinstance(u, int | float) else as_tensor(u, "unmatched").detach() for u in unmatched)


def _seeded(solver: Any, generator: Generator | None) -> Any:
    """The solver with its seed drawn from a generator, if it has one."""
    if generator is None or not is_dataclass(solver) or not hasattr(solver, "seed"):
        return solver
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    return replace(solver, seed=seed)  # type: ignore[type-var]


def _pairs(problem: Problem, solution: Solution) -> tuple[Tensor, Tensor, float]:
    """The pairs of a matching and their objective; a relaxed one is rounded to the matching of most mass."""
    matching = solution.matching.detach()
    listed_pairs = matching.layout != torch.strided
    whole = listed_pairs or bool(((matching == 0) | (matching == 1)).all())
    if not whole:
        alone = None if problem.unmatched is None else 0.25
        same = Problem(NodeEdge(matching.double()), forbidden=problem.forbidden, seeds=problem.seeds, unmatched=alone)
        matching = Lap()(same).matching
    rows, cols = solution.pairs() if listed_pairs else matching.nonzero(as_tuple=True)
    if whole and solution.objective is not None:
        return rows, cols, float(solution.objective)
    wide = problem.with_scores(problem.scores.to(torch.float64))
    total = float(objective(wide, wide.value(_matching(problem, rows, cols))))
    if not math.isfinite(total):
        raise ValueError("match: the objective overflows float64, as scores are so large: scale the scores down")
    return rows, cols, total
