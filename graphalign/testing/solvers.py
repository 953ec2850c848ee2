"""Checks of solvers: each is called with one, and raises AssertionError where it does not hold the property."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..compatibility import order_of
from ..differentiation import Solver
from ..metrics import objective
from ..problem import NodeEdge, Problem
from ..solvers import BruteForce
from .problems import linear, masks, normal, one_item, quadratic, random_problem, ring
from .require import require, require_close, require_fitting, require_made, require_solution


def it_returns_a_solution(solver: Solver) -> None:
    """A `Solution` of a `NodeEdge`, whose matching has the shape of the scores; of second order, with an edge part."""
    require_made(solver, "solver_checks")
    require(callable(solver), f"a solver is called with a Problem; the type {type(solver).__name__} cannot be")
    problem = random_problem(order_of(solver))
    solution = solver(problem)
    require_solution(solution, problem, "a solver returns a Solution, e.g. Solution(NodeEdge(matching))")
    if problem.scores.edge is not None:
        require(
            solution.value.edge is not None,
            "a solver of order 2 returns the pairs of edges too: NodeEdge(matching, problem.edge_matching(matching))",
        )


def matchings_are_feasible(solver: Solver) -> None:
    """Sums of rows and columns, on square, wide, tall and padded problems with scores as small as cosines."""
    problems = [linear(3, 4, 4), linear(3, 4, 6), linear(3, 6, 4), linear(3, 4, 5, **masks())]
    for problem in problems:
        solution = solver(problem.with_scores(problem.scores * 0.3))
        require_fitting(solution, problem)
        given = f"{'Padded node' if problem.mask1 is not None else 'Node'} scores {tuple(problem.scores.node.shape)}"
        settled = torch.ones(3, dtype=torch.bool) if solution.converged is None else solution.converged
        require(settled.any(), f"{given}: no problem converged")
        for error, what in _faults(solution.matching, problem):
            worst = float(error[settled].max())
            require(worst <= 1e-3, f"{given}: {what}; the matching is infeasible by {worst:.2e}")


def high_scores_are_matched(solver: Solver) -> None:
    """Pairs whose scores stand out get more of the matching than other pairs: a solver maximises."""
    planted = torch.stack([torch.eye(5, dtype=torch.float64).roll(shift, 1) for shift in range(5)])
    for wanted, unmatched in ((planted, None), (planted[:, :3], None), (planted, 0.25)):
        scores = wanted + 0.1 * normal(*wanted.shape)
        matching = solver(Problem(NodeEdge(scores), unmatched=unmatched)).matching
        found, other = ((matching * of).sum((-2, -1)) / of.sum((-2, -1)) for of in (wanted, 1 - wanted))
        require(
            (found > other).all(),
            f"pairs with scores near 1 get {float(found.min()):.2f} of a match each, those near 0 get "
            f"{float(other.max()):.2f} (unmatched={unmatched}): a solver maximises; negate costs",
        )


def padding_is_as_if_absent(solver: Solver) -> None:
    """A padded problem has the solution of the problem without its padded nodes, whatever their scores are."""
    problem = linear(3, 4, 5, **masks())
    garbage = problem.scores.map(lambda x: x.masked_fill(~problem.allowed(), torch.nan))
    matching = solver(problem.with_scores(garbage)).matching
    require((matching[~problem.allowed()] == 0).all(), "a padded node is matched")
    for item, (rows, cols) in enumerate(zip(problem.real1(), problem.real2(), strict=True)):
        alone = solver(Problem(NodeEdge(problem.scores.node[item][rows][:, cols]))).matching
        require_close(matching[item][rows][:, cols], alone, "Padding changes the matching of the real nodes")


def a_batch_is_a_loop(solver: Solver) -> None:
    """Every item of a batch of any shape gets the solution that it gets alone."""
    problem = linear(2, 3, 4, 5)
    solution = solver(problem)
    require_fitting(solution, problem)
    for i in range(2):
        for j in range(3):
            alone = solver(Problem(NodeEdge(problem.scores.node[i, j]))).matching
            require_close(solution.matching[i, j], alone, "an item's matching depends on its neighbours in the batch")


def nodes_have_no_order(solver: Solver) -> None:
    """Permuting the nodes permutes the matching."""
    problem, order = linear(2, 5, 5), torch.tensor([3, 0, 4, 1, 2])
    matching = solver(problem).matching
    permuted = solver(Problem(NodeEdge(problem.scores.node[:, order]))).matching
    require_close(matching[:, order], permuted, "the matching depends on the order of the nodes")


def inputs_are_left_alone(solver: Solver) -> None:
    """Neither scores nor masks change."""
    problem = linear(3, 4, 5, **masks())
    before = problem.scores.node.clone()
    solver(problem)
    require(torch.equal(problem.scores.node, before), "the solver wrote into the scores")


def the_dtype_is_kept(solver: Solver) -> None:
    """Scores in float64, float32 and bfloat16 give a matching of the same dtype and, nearly, of the same value."""
    exact = linear(3, 4, 4).scores.node.to(torch.bfloat16)
    expected = solver(Problem(NodeEdge(exact.double()))).matching
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        matching = solver(Problem(NodeEdge(exact.to(dtype)))).matching
        require(matching.dtype == dtype, f"scores in {dtype} give a matching in {matching.dtype}")
        tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-3
        require_close(matching.double(), expected, f"{dtype} changes the matching", tolerance)


def scores_that_are_not_finite_are_refused(solver: Solver) -> None:
    """NaN and infinity raise ValueError instead of giving a matching; minus infinity forbids a pair."""
    for bad in (torch.nan, torch.inf):
        scores = normal(2, 3, 3)
        scores[1, 0, 2] = bad
        try:
            solver(Problem(NodeEdge(scores)))
        except ValueError:
            continue
        raise AssertionError(f"a score of {bad} is not refused")


def leaving_nodes_alone_is_weighed(solver: Solver) -> None:
    """Nobody is matched where being alone pays more than any pair, everybody where it costs more."""
    for unmatched, pairs in ((1.0, 0), (-1.0, 4)):
        problem = linear(2, 4, 5, unmatched=unmatched)
        problem = problem.with_scores(problem.scores * 0.3)
        total = solver(problem).matching.sum((-2, -1))
        require(((total - pairs).abs() < 1e-2).all(), f"with unmatched={unmatched}, {pairs} pairs are expected")


def edges_are_refused(solver: Solver) -> None:
    """A first-order solver does not silently drop edge scores."""
    try:
        solver(quadratic(2))
    except ValueError:
        return
    raise AssertionError("a first-order solver accepts edge scores")


def edges_matter(solver: Solver) -> None:
    """With node scores of zero, an objective above the mean of random matchings is reached by edges alone."""
    problem = quadratic(20, n=5, m=5)
    problem = problem.with_scores(NodeEdge(torch.zeros_like(problem.scores.node), problem.scores.edge))
    solution = solver(problem)
    edge = problem.edge_matching(solution.matching)
    require_close(edge, solution.value.edge, "the edge part is not the product of node entries")  # type: ignore[arg-type]
    require(objective(problem, solution.value).mean() > 1, "edge scores do not improve the matching")


def edges_in_a_batch_are_a_loop(solver: Solver) -> None:
    """Second order: rectangles, masks and a batch give what each item gives alone."""
    problem = quadratic(3, n=4, m=5, **masks())
    matching = solver(problem).matching
    require((matching[~problem.allowed()] == 0).all(), "a padded node is matched")
    for item in range(3):
        alone = solver(one_item(problem, item)).matching
        require_close(matching[item], alone, "an item's matching depends on its neighbours in the batch")


def padded_edges_are_as_if_absent(solver: Solver) -> None:
    """Second order: a problem with padded edges is the problem without them, whatever their scores are."""
    real1, real2 = masks().values()
    problem = quadratic(3, n=4, m=5, edge_mask1=real1, edge_mask2=real2)
    node, edge = problem.scores.tensors()
    solution = solver(problem.with_scores(NodeEdge(node, edge.masked_fill(~problem.allowed_edges(), torch.nan))))
    value = problem.edge_matching(solution.matching)
    require_close(solution.value.edge, value, "the edge part is not zero at padded edges")  # type: ignore[arg-type]
    for item, (e, f) in enumerate(zip(real1, real2, strict=True)):
        alone = Problem(NodeEdge(node[item], edge[item][e][:, f]), ring(4)[:, e], ring(5)[:, f])
        require_close(solution.matching[item], solver(alone).matching, "Padded edges change the matching")


def no_matching_is_better(solver: Solver) -> None:
    """The optimum, against enumeration: random, tied, wide, tall, padded and partial problems."""
    tied = Problem(NodeEdge(normal(6, 5, 5).round()))
    problems = [linear(6, 5, 5), tied, linear(6, 3, 5), linear(6, 5, 3), linear(3, 4, 5, **masks())]
    problems += [replace(p, unmatched=u) for p in problems for u in (-0.4, 0.0, 0.3)]
    for problem in problems:
        best = objective(problem, BruteForce()(problem).value)
        found = objective(problem, solver(problem).value)
        require_close(found, best, f"Not optimal with unmatched={problem.unmatched}", 1e-9)


def _faults(matching: Tensor, problem: Problem) -> Iterator[tuple[Tensor, str]]:
    """How far every problem's matching is from feasible, `(b)`, in each of the ways that there are; see Problem."""
    needed = torch.minimum(problem.real1().sum(-1), problem.real2().sum(-1))
    yield (-matching).amax((-2, -1)), "an entry is negative"
    yield matching.masked_fill(problem.allowed(), 0).amax((-2, -1)), "a padded node is matched"
    yield matching.sum(-1).amax(-1) - 1, "a row sums to more than one"
    yield matching.sum(-2).amax(-1) - 1, "a column sums to more than one"
    yield (matching.sum((-2, -1)) - needed).abs() / needed, "not all nodes of the smaller side are matched"


def forbidden_pairs_are_not_made(solver: Solver) -> None:
    """Whatever they score: much, which tempts a solver that maximises, or little, for one that minimises."""
    problem = linear(3, 4, 4)
    forbidden = torch.eye(4, dtype=torch.bool).roll(1, 0).expand(3, 4, 4)
    for tempting in (5.0, -5.0):
        scores = problem.scores.map(lambda x, more=tempting: x + more * forbidden)
        matching = solver(replace(problem, scores=scores, forbidden=forbidden)).matching
        require((matching[forbidden] == 0).all(), "a forbidden pair is made")
        total, ones = matching.sum(-1), torch.ones(3, 4, dtype=matching.dtype)
        require_close(total, ones, "Forbidden pairs cost nodes a match", 1e-2)


def seeds_are_made(solver: Solver) -> None:
    """Whatever they score, little or much, also where nodes may stay alone; the others are matched as without them."""
    scores = linear(3, 4, 5).scores.node
    rest, kept = torch.tensor([0, 2, 3]), torch.tensor([0, 1, 3, 4])
    for score, unmatched in ((-3.0, None), (-3.0, 0.1), (3.0, None), (3.0, 0.1)):
        scores = scores.clone()
        scores[:, 1, 2] = score
        matching = solver(Problem(NodeEdge(scores), unmatched=unmatched, seeds=[(1, 2)])).matching
        require((matching[:, 1, 2] == 1).all(), "a seed is not made")
        require((matching[:, 1].sum(-1) == 1).all(), "the row of a seed has another partner")
        alone = solver(Problem(NodeEdge(scores[:, rest][..., kept]), unmatched=unmatched)).matching
        require_close(matching[:, rest][..., kept], alone, "a seed changes more than its own row and column")


def constants_change_nothing(solver: Solver) -> None:
    """A constant on all scores of full matchings: the same matching and `converged`."""
    _moved(solver, [(1e3, (...,)), (-1e3, (...,))])


def constants_of_nodes_change_nothing(solver: Solver) -> None:
    """A constant on a row or a column, each of which is matched: the same matching and `converged`."""
    _moved(solver, [(5.0, (..., 1, slice(None))), (5.0, (..., 2))])


def _moved(solver: Solver, moves: list[tuple[float, tuple[Any, ...]]]) -> None:
    problem = random_problem(order_of(solver), 3)
    plain = solver(problem)
    for constant, place in moves:
        moved = problem.scores.node.clone()
        moved[place] += constant
        other = solver(problem.with_scores(replace(problem.scores, node=moved)))
        require_close(other.matching, plain.matching, "a constant that changes no matching changes the answer", 1e-2)
        if plain.converged is not None and other.converged is not None:
            require(torch.equal(plain.converged, other.converged), "a constant changes `converged`")


def a_factor_changes_nothing(solver: Solver) -> None:
    """A positive factor on all scores: the same matching and `converged` (of solvers without a temperature)."""
    problem = random_problem(order_of(solver), 3)
    plain = solver(problem)
    for factor in (2.0**-20, 2.0**20):
        other = solver(problem.with_scores(problem.scores * factor))
        require_close(other.matching, plain.matching, "a positive factor changes the answer")
        if plain.converged is not None and other.converged is not None:
            require(torch.equal(plain.converged, other.converged), "a positive factor changes `converged`")


def bounds_are_bounds(solver: Solver) -> None:
    """`Solution.bound`, where there is one, is not below the optimum, and `objective` is that of the matching."""
    order = order_of(solver)
    for problem in (random_problem(order, 6), random_problem(order, 6, unmatched=0.2)):
        solution = solver(problem)
        if solution.bound is None:
            continue
        best = objective(problem, BruteForce()(problem).value)
        require((solution.bound >= best - 1e-12).all(), "a bound lies below the optimum")
        require(solution.objective is not None, "a solution with a bound needs its objective")
        found = objective(problem, solution.value)
        require_close(found, solution.objective, "`objective` is not that of the matching", 1e-9)  # type: ignore[arg-type]


SOLVER_CHECKS: tuple[Callable[[Solver], None], ...] = (
    it_returns_a_solution,
    matchings_are_feasible,
    high_scores_are_matched,
    padding_is_as_if_absent,
    a_batch_is_a_loop,
    nodes_have_no_order,
    inputs_are_left_alone,
    the_dtype_is_kept,
    scores_that_are_not_finite_are_refused,
    leaving_nodes_alone_is_weighed,
    forbidden_pairs_are_not_made,
    seeds_are_made,
    constants_change_nothing,
    bounds_are_bounds,
)
# Of solvers that maximise the scores alone; a temperature is in units of the scores.
SCALE_FREE_CHECKS: tuple[Callable[[Solver], None], ...] = (a_factor_changes_nothing,)
# Not of solvers that say `centred = False`: greedy ones take the highest score whatever row it is in.
CENTRED_CHECKS: tuple[Callable[[Solver], None], ...] = (constants_of_nodes_change_nothing,)
FIRST_ORDER_CHECKS: tuple[Callable[[Solver], None], ...] = (edges_are_refused,)
SECOND_ORDER_CHECKS: tuple[Callable[[Solver], None], ...] = (
    edges_matter,
    edges_in_a_batch_are_a_loop,
    padded_edges_are_as_if_absent,
)
EXACT_CHECKS: tuple[Callable[[Solver], None], ...] = (no_matching_is_better,)
