"""Quadratic assignment problems of known optimum, as published.

Nugent, Vollmann and Ruml, "An experimental comparison of techniques for the assignment of facilities to locations",
Operations Research 1968, and Hadley, Rendl and Wolkowicz, "A new lower bound via projection for the quadratic
assignment problem", Mathematics of Operations Research 1992; optima from QAPLIB (Burkard, Karisch and Rendl, 1997).
"""

import pytest
import torch

from graphalign import FAQ, FGW, IPFP, RRWM, SM, BruteForce, NodeEdge, Problem, objective

NUGENT = """
0 5 2 4 1 0 0 6 2 1 1 1
5 0 3 0 2 2 2 0 4 5 0 0
2 3 0 0 0 0 0 5 5 2 2 2
4 0 0 0 5 2 2 10 0 0 5 5
1 2 0 5 0 10 0 0 0 5 1 1
0 2 0 2 10 0 5 1 1 5 4 0
0 2 0 2 0 5 0 10 5 2 3 3
6 0 5 10 0 1 10 0 0 0 5 0
2 4 5 0 0 1 5 0 0 0 10 10
1 5 2 0 5 5 2 0 0 0 5 0
1 0 2 5 1 4 3 5 10 5 0 2
1 0 2 5 1 0 3 0 10 0 2 0
"""
HADLEY_DISTANCES = """
0 1 2 2 3 4 4 5 3 5 6 7
1 0 1 1 2 3 3 4 2 4 5 6
2 1 0 2 1 2 2 3 1 3 4 5
2 1 2 0 1 2 2 3 3 3 4 5
3 2 1 1 0 1 1 2 2 2 3 4
4 3 2 2 1 0 2 3 3 1 2 3
4 3 2 2 1 2 0 1 3 1 2 3
5 4 3 3 2 3 1 0 4 2 1 2
3 2 1 3 2 3 3 4 0 4 5 6
5 4 3 3 2 1 1 2 4 0 1 2
6 5 4 4 3 2 2 1 5 1 0 1
7 6 5 5 4 3 3 2 6 2 1 0
"""
HADLEY_FLOWS = """
0 3 4 6 8 5 6 6 5 1 4 6
3 0 6 3 7 9 9 2 2 7 4 7
4 6 0 2 6 4 4 4 2 6 3 6
6 3 2 0 5 5 3 3 9 4 3 6
8 7 6 5 0 4 3 4 5 7 6 7
5 9 4 5 4 0 8 5 5 5 7 5
6 9 4 3 3 8 0 6 8 4 6 7
6 2 4 3 4 5 6 0 1 5 5 3
5 2 2 9 5 5 8 1 0 4 5 2
1 7 6 4 7 5 4 5 4 0 7 7
4 4 3 3 6 7 6 5 5 7 0 9
6 7 6 6 7 5 7 3 2 7 9 0
"""


def _table(text):
    return torch.tensor([[float(x) for x in line.split()] for line in text.split("\n") if line])


def _grid(rows, columns):
    """Distances between the cells of a grid, row by row, one step along a side at a time."""
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    return torch.cdist(cells, cells, p=1)


def _problem(flows, distances):
    """Edges between all pairs of nodes; costs are negative scores."""
    edges = torch.nonzero(~torch.eye(len(flows), dtype=torch.bool)).mT
    edge = -flows[tuple(edges)][:, None] * distances[tuple(edges)]
    return Problem(NodeEdge(torch.zeros_like(flows), edge), edges, edges)


#: Nugent's problems have as many facilities on the first cells of a grid, and share their flows.
NUG12 = _problem(_table(NUGENT), _grid(3, 4))
HAD12 = _problem(_table(HADLEY_FLOWS), _table(HADLEY_DISTANCES))
#: Problem, optimum, and the facility at each location in one best assignment.
PUBLISHED = {
    "nug12": (NUG12, 578, (12, 7, 9, 3, 4, 8, 11, 1, 5, 6, 10, 2)),
    "had12": (HAD12, 1652, (3, 10, 11, 2, 12, 5, 6, 7, 8, 1, 4, 9)),
}
SOLVERS = [FAQ(restarts=16), FGW(), RRWM(negative="shift"), IPFP(), SM(negative="shift")]


def _cost(problem, value):
    return -float(objective(problem, value))


@pytest.mark.parametrize(("n", "rows", "columns", "optimum"), [(5, 2, 3, 50), (6, 2, 3, 86), (8, 2, 4, 214)])
def test_enumeration_finds_the_published_optimum(n, rows, columns, optimum):
    problem = _problem(_table(NUGENT)[:n, :n], _grid(rows, columns)[:n, :n])
    assert _cost(problem, BruteForce()(problem).value) == optimum


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_objective_at_the_published_assignment_is_the_optimum(name):
    problem, optimum, facilities = PUBLISHED[name]
    matching = torch.nn.functional.one_hot(torch.tensor(facilities) - 1).float().mT
    assert _cost(problem, NodeEdge(matching, problem.edge_matching(matching))) == optimum


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("name", PUBLISHED)
def test_no_solver_goes_below_the_optimum(name, solver):
    problem, optimum, _ = PUBLISHED[name]
    solution = solver(problem)
    assert solution.matching.sum() == 12
    assert _cost(problem, solution.value) >= optimum


def test_faq_with_restarts_is_at_the_optimum_or_within_one_percent():
    assert _cost(NUG12, FAQ(restarts=16)(NUG12).value) == 578
    assert _cost(HAD12, FAQ(restarts=16)(HAD12).value) <= 1.01 * 1652


def _factored(flows, distances):
    """The same problems with edge scores in factors."""
    edges1, edges2 = torch.nonzero(flows).mT, torch.nonzero(distances).mT
    weights = -flows[tuple(edges1)][:, None].double(), distances[tuple(edges2)][:, None].double()
    return Problem(NodeEdge(torch.zeros_like(flows).double(), factors=weights), edges1, edges2)


FACTORED = {
    "nug12": (_factored(_table(NUGENT), _grid(3, 4)), 578, 493),
    "had12": (_factored(_table(HADLEY_FLOWS), _table(HADLEY_DISTANCES)), 1652, 1536),
}


@pytest.mark.parametrize("name", FACTORED)
def test_the_bound_is_the_published_one_of_gilmore_and_lawler(name):
    problem, optimum, bound = FACTORED[name]
    solution = FAQ()(problem)
    assert -float(solution.bound) == pytest.approx(bound, abs=1e-6)
    assert float(solution.objective) == -_cost(problem, solution.value) <= -bound
    assert -float(solution.objective) <= 1.01 * optimum
    assert 0 < float(solution.gap) < 0.2


@pytest.mark.parametrize("name", FACTORED)
def test_a_constant_changes_no_answer(name):
    problem = FACTORED[name][0]
    plain = FAQ()(problem)
    for constant in (1.0, -1.0, 0.1, 1e-3, -9876.5, 1e4, 1e6, -1e6, 333333.333):
        moved = FAQ()(problem.with_scores(NodeEdge(problem.scores.node + constant, factors=problem.scores.factors)))
        assert torch.equal(moved.matching, plain.matching)
        assert torch.equal(moved.converged, plain.converged)
        assert float(moved.objective - plain.objective) == pytest.approx(12 * constant, abs=1e-6)
        assert float(moved.bound - plain.bound) == pytest.approx(12 * constant, abs=1e-6)


def test_pairs_of_an_optimal_matching_lead_to_it():
    _, optimum, facilities = PUBLISHED["nug12"]
    problem = FACTORED["nug12"][0]
    columns = [facilities.index(i + 1) for i in range(12)]
    for rows in ((0, 4, 9), (1, 2, 3), (5, 8, 11)):
        seeded = Problem(problem.scores, problem.edges1, problem.edges2, seeds=[(i, columns[i]) for i in rows])
        assert float(FAQ()(seeded).objective) == -optimum
