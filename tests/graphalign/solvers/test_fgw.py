"""Fused Gromov-Wasserstein against POT's own, enumeration, and what its adapter adds."""

import re
import sys

import numpy as np
import ot
import pytest
import torch
from draws import generator, normal

from graphalign import FGW, KNN, BruteForce, Cosine, Lap, NodeEdge, Problem, build, objective
from graphalign.extras import pip_line


def _graphs(n, m, *, batch=6, noise=0.5, **options):
    g = generator()
    x = torch.randn(batch, max(n, m), 6, generator=g)
    y = x + noise * torch.randn(x.shape, generator=g)
    graphs = KNN(3)(x[:, :n]), KNN(3)(y[:, :m])
    return Problem(Cosine()(*graphs, order=2), graphs[0].edge_index, graphs[1].edge_index, **options)


@pytest.mark.parametrize("seed", range(4))
def test_squared_differences_of_distances_are_what_pot_solves(seed):
    """Between all pairs of nodes, equal ones too, with K = -(C1 - C2)^2: the same plans on the same way."""
    points = normal(2, 7, 2, seed=seed)
    first, second = torch.cdist(points, points)
    node = torch.randn(7, 7, generator=generator(seed + 9), dtype=torch.float64)
    edges = torch.cartesian_prod(torch.arange(7), torch.arange(7)).mT
    edge = -((first[tuple(edges)][:, None] - second[tuple(edges)]) ** 2)
    found = FGW()(Problem(NodeEdge(node, edge), edges, edges)).matching
    # POT weighs costs of nodes by 1 - alpha and of edges by alpha, at masses of 1/7
    plan = ot.gromov.fused_gromov_wasserstein(-node.numpy(), first.numpy(), second.numpy(), alpha=7 / 8)
    assert torch.equal(found, Lap()(Problem(NodeEdge(torch.from_numpy(plan)))).matching)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (4, 6), (6, 4)])
@pytest.mark.parametrize("unmatched", [None, 0.2])
def test_never_above_the_optimum_and_near_it(n, m, unmatched):
    problem = _graphs(n, m, unmatched=unmatched)
    best = objective(problem, BruteForce()(problem).value)
    found = objective(problem, FGW()(problem).value)
    assert (found <= best + 1e-4).all()
    assert found.mean() >= 0.9 * best.mean()


def test_it_begins_inside():
    """One node too many mass would hold it where it begins: a path has one image only."""
    path1, path2 = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
    solution = FGW()(Problem(NodeEdge(torch.zeros(3, 3), torch.ones(2, 2)), path1, path2))
    assert solution.matching.argmax(-1).tolist() == [2, 0, 1]


def test_without_edges_it_is_exact():
    problem = Problem(NodeEdge(torch.randn(5, 6, 7, generator=generator())), unmatched=0.1)
    assert torch.equal(FGW()(problem).matching, Lap()(problem).matching)


def test_convergence_is_reported():
    problem = _graphs(12, 12, noise=1.5)
    assert FGW()(problem).converged.float().mean() > 0.5
    stopped = FGW(max_iter=1)(problem)
    assert not stopped.converged.any()
    assert (stopped.residual > 0).all()


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    FGW()(_graphs(5, 5))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_without_pot_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=re.escape(f"needs the package POT: {pip_line('pot')}")):
        FGW()(_graphs(4, 4))


@pytest.mark.parametrize("spec", ["fgw(max_iter=0)", "fgw(tol=-1.0)"])
def test_settings_are_checked(spec):
    with pytest.raises(ValueError, match="FGW"):
        build("solver", spec)
