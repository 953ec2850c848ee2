import pytest
import torch

from graphalign import FAQ, KNN, BruteForce, Cosine, Lap, NodeEdge, Problem, objective
from graphalign.solvers.graduated import feasible


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


def test_convergence_is_reported():
    problem = _pair(16, 16, noise=1.5)
    assert FAQ()(problem).converged.float().mean() > 0.5
    stopped = FAQ(max_iter=1)(problem)
    assert not stopped.converged.all()
    assert (stopped.residual > 0).any()


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4)])
@pytest.mark.parametrize("partial", [False, True])
def test_the_climb_begins_inside(shape, partial):
    """From outside the matchings a step promises less than nothing, and the climb would stop at once."""
    x = 3 * torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy() ** 6
    inside = feasible(x, partial)
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
