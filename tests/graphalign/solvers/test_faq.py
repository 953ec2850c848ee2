import itertools

import pytest
import torch

from graphalign import FAQ, KNN, BruteForce, Cosine, Lap, NodeEdge, Problem, match, objective
from graphalign.solvers.graduated import feasible
from graphalign.solvers.quadratic import Quadratic


def _pair(n, m, *, batch=10, noise=0.5, k=3, seed=0, **options):
    """Graphs of noisy copies of the same points, the second one with points left out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, max(n, m), 6, generator=generator)
    y = x + noise * torch.randn(x.shape, generator=generator)
    graphs = KNN(k)(x[:, :n]), KNN(k)(y[:, :m])
    return Problem(Cosine()(*graphs, order=2), graphs[0].edge_index, graphs[1].edge_index, **options)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (4, 6), (6, 4)])
@pytest.mark.parametrize("unmatched", [None, 0.3])
def test_close_to_the_optimum_and_never_above(n, m, unmatched):
    problem = _pair(n, m, unmatched=unmatched)
    best = objective(problem, BruteForce()(problem).value)
    found = objective(problem, FAQ(restarts=3)(problem).value)
    assert (found <= best + 1e-4).all()
    assert found.mean() >= 0.95 * best.mean()


def test_edges_help_where_nodes_alone_mislead():
    problem = _pair(32, 32, noise=0.5, k=5, batch=4)
    nodes_only = Lap()(Problem(NodeEdge(problem.scores.node))).matching
    value = NodeEdge(nodes_only, problem.edge_matching(nodes_only))
    assert objective(problem, FAQ()(problem).value).mean() > objective(problem, value).mean()


def test_without_edges_it_is_exact():
    problem = Problem(NodeEdge(torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))), unmatched=0.1)
    assert torch.equal(FAQ()(problem).matching, Lap()(problem).matching)


def test_restarts_never_make_it_worse_and_sometimes_better():
    problem = _pair(16, 16, noise=1.5, batch=12)
    once, often = (objective(problem, FAQ(restarts=r)(problem).value) for r in (0, 4))
    assert (often >= once - 1e-5).all()
    assert (often > once + 1e-3).any()


def test_the_order_of_nodes_and_edges_does_not_matter():
    problem = _pair(8, 8, batch=3)
    order = torch.randperm(problem.scores.edge.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = Problem(
        NodeEdge(problem.scores.node, problem.scores.edge[:, order]), problem.edges1[..., order], problem.edges2
    )
    assert torch.equal(FAQ()(shuffled).matching, FAQ()(problem).matching)


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize(("n", "m", "unmatched"), [(7, 7, None), (5, 8, None), (8, 5, None), (5, 6, 0.3)])
def test_converged_says_that_no_exchange_gains(n, m, unmatched, factored):
    """Exchanges of two partners, moves to a free column and, where nodes may stay alone, pairs made and dissolved."""
    problem = _random(n, m, factored=factored, unmatched=unmatched, batch=6)
    solution = FAQ(max_iter=1)(problem)
    assert solution.converged.all()
    found = objective(problem, solution.value)
    for item in range(6):
        for neighbour in _neighbours(solution.matching[item], unmatched is not None):
            matching = solution.matching.clone()
            matching[item] = neighbour
            assert (objective(problem, problem.value(matching)) <= found + 1e-9).all()


def _random(n, m, *, factored, unmatched, batch):
    """Random scores with loops, edges in both directions and edges that occur twice."""
    g = torch.Generator().manual_seed(1)
    edges1, edges2 = (torch.randint(size, (batch, 2, 20), generator=g) for size in (n, m))
    first, second, node = (torch.randn(batch, *s, generator=g).double() for s in ((20, 2), (20, 2), (n, m)))
    edges = {"factors": (first, second)} if factored else {"edge": first @ second.mT}
    return Problem(NodeEdge(node, **edges), edges1, edges2, unmatched=unmatched)


def _neighbours(matching, partial):
    n, m = matching.shape
    for i, j in itertools.combinations(range(n), 2):
        yield matching[[j if k == i else i if k == j else k for k in range(n)]]
    for i, a in itertools.product(range(n), range(m)):
        if not matching[:, a].any() and (partial or matching[i].any()):
            moved = matching.clone()
            moved[i] = 0
            moved[i, a] = 1
            yield moved
        if partial and matching[i, a]:
            alone = matching.clone()
            alone[i, a] = 0
            yield alone


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4)])
@pytest.mark.parametrize("partial", [False, True])
def test_the_climb_begins_inside(shape, partial):
    """From outside the matchings a step promises less than nothing, and the climb would stop at once."""
    x = 3 * torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy() ** 6
    problem = next(Quadratic.split(_pair(*shape, batch=1, unmatched=0.0 if partial else None)))[0]
    inside = feasible(problem, x)
    assert (inside >= 0).all()
    assert inside.sum(0).max() <= 1 + 1e-12
    assert inside.sum(1).max() <= 1 + 1e-12
    if not partial:
        assert inside.sum() == pytest.approx(min(shape))


def test_the_gap_is_never_negative_where_all_is_symmetric():
    path = torch.tensor([[0, 1], [1, 2]])
    problem = Problem(NodeEdge(torch.zeros(3, 3), torch.eye(2)), edges1=path, edges2=path.flip(1))
    solution = FAQ()(problem)
    assert 0 <= solution.residual < 1e-5
    assert objective(problem, solution.value) == 1


def test_a_large_problem_keeps_its_bound_and_its_answer_in_another_order():
    """From 64 nodes on there are two starts, and matrices are put in order in place, the user's own never."""
    generator = torch.Generator().manual_seed(0)
    a, b, scores = (torch.rand(70, 70, generator=generator, dtype=torch.float64) for _ in range(3))
    kept = a.clone(), b.clone()
    rows, cols = (torch.randperm(70, generator=generator) for _ in range(2))
    found = match(scores=scores, adjacency=(a, b), solver="faq")
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])
    moved = match(scores=scores[rows][:, cols], adjacency=(a[rows][:, rows], b[cols][:, cols]), solver="faq")
    expected = torch.empty(70, dtype=torch.long)
    expected[rows] = cols[moved.cols]
    assert torch.equal(expected, found.cols)
    x = torch.zeros(70, 70, dtype=torch.float64)
    x[found.rows, found.cols] = 1
    assert found.objective == pytest.approx(float((scores * x).sum() + (a @ x @ b.T * x).sum()), rel=1e-12)
    assert found.objective < found.bound < 1.25 * found.objective
