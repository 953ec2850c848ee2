"""The call `match`: every form of input, its objective, and its errors."""

import inspect

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.optimize import linear_sum_assignment, quadratic_assignment
from torch_geometric.data import Data

import graphalign as ga

RNG = np.random.default_rng(0)
# A matrix of a small directed, weighted graph, and the same graph with its nodes in another order.
A = np.where(RNG.random((9, 9)) < 0.4, RNG.integers(1, 9, (9, 9)), 0).astype(float)
ORDER = RNG.permutation(9)
B = A[np.ix_(ORDER, ORDER)]
FORMS = {
    "array": lambda x: x,
    "list": lambda x: x.tolist(),
    "tensor": torch.from_numpy,
    "float32": lambda x: torch.from_numpy(x).float(),
    "whole numbers": lambda x: x.astype(int),
    "torch.sparse": lambda x: torch.from_numpy(x).to_sparse(),
    "torch.sparse csr": lambda x: torch.from_numpy(x).to_sparse_coo(),
    "scipy.sparse": scipy.sparse.csr_array,
    "scipy.sparse matrix": scipy.sparse.coo_matrix,
    "networkx": lambda x: networkx.from_numpy_array(x, create_using=networkx.DiGraph),
    "Data": lambda x: _data(x),
    "ModalityGraph": lambda x: _graph(x),
}


def _data(x):
    i, j = x.nonzero()
    return Data(edge_index=torch.from_numpy(np.stack([i, j])), edge_attr=torch.from_numpy(x[i, j]), num_nodes=len(x))


def _graph(x):
    data = _data(x)
    return ga.ModalityGraph(torch.zeros(len(x), 1), data.edge_index, edge_features=data.edge_attr[:, None])


def test_the_signature_is_as_documented():
    parameters = inspect.signature(ga.match).parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == ["x", "y"]
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keywords == dict.fromkeys(
        ["scores", "adjacency", "seeds", "forbidden", "unmatched", "generator"]
    ) | {"solver": "lap"}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_adjacency_in_every_form(form):
    found = ga.match(adjacency=(FORMS[form](A), FORMS[form](B)), solver="faq")
    assert found.objective == pytest.approx((A * A).sum())
    assert ORDER[found.cols.numpy()].tolist() == list(range(9))
    assert found.rows.tolist() == list(range(9))
    assert found.converged is True
    assert found.bound >= found.objective
    assert 0 <= found.gap < 1
    assert found.rows.dtype == found.cols.dtype == torch.long


def test_the_objective_is_scores_and_products_of_edges():
    scores = RNG.standard_normal((6, 8))
    first, second = RNG.standard_normal((6, 6)), RNG.standard_normal((8, 8))
    found = ga.match(scores=scores, adjacency=(first, second), solver="faq")
    x = np.zeros((6, 8))
    x[found.rows, found.cols] = 1
    assert found.objective == pytest.approx((scores * x).sum() + (first @ x @ second.T * x).sum())
    assert found.scores.numpy() == pytest.approx(scores[found.rows, found.cols])


def test_weights_of_networkx_keep_double_precision():
    graph = networkx.Graph()
    graph.add_edge(0, 1, weight=1 / 3)
    assert ga.match(adjacency=(graph, graph), solver="faq").objective == pytest.approx(2 / 9, rel=1e-14)


@pytest.mark.parametrize("width", [None, 1, 3])
def test_a_graph_without_edges_is_a_graph(width):
    shape = (0,) if width is None else (0, width)
    none = Data(edge_index=torch.empty(2, 0, dtype=torch.long), edge_attr=torch.empty(shape), num_nodes=3)
    found = ga.match(scores=torch.eye(3).flip(0), adjacency=(none, none), solver="faq")
    assert found.cols.tolist() == [2, 1, 0]
    assert found.objective == 3


@pytest.mark.parametrize("solver", ["faq", "fgw"])
@pytest.mark.parametrize("unmatched", [None, 0.5])
def test_seeds_may_leave_nothing_to_match(solver, unmatched):
    seeds, edges = [(0, 2), (2, 0), (3, 1)], (np.ones((4, 4)), np.ones((3, 3)))
    for shape, pairs in (((4, 3), seeds), ((3, 4), [(j, i) for i, j in seeds])):
        adjacency = edges if shape == (4, 3) else edges[::-1]
        found = ga.match(scores=np.zeros(shape), adjacency=adjacency, solver=solver, seeds=pairs, unmatched=unmatched)
        assert sorted(zip(found.rows.tolist(), found.cols.tolist(), strict=True)) == sorted(pairs)
        assert found.objective == pytest.approx(9 + (unmatched or 0))
        assert found.bound is None or found.bound >= found.objective - 1e-12


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("solver", ["faq", "fgw"])
def test_all_pairs_may_be_forbidden_where_nodes_may_stay_alone(solver):
    edges = np.ones((3, 3)), np.ones((4, 4))
    found = ga.match(adjacency=edges, solver=solver, forbidden=np.ones((3, 4), bool), unmatched=0.5)
    assert not len(found.rows)
    assert found.objective == pytest.approx(3.5)


def test_it_is_no_worse_than_scipy():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        first, second = (rng.integers(0, 10, (15, 15)).astype(float) for _ in range(2))
        theirs = quadratic_assignment(first, second, options={"maximize": True, "rng": rng}).fun
        assert ga.match(adjacency=(first, second), solver="faq").objective >= theirs


@pytest.mark.parametrize("shape", [(7, 7), (5, 8), (8, 5)])
def test_scores_alone_are_linear_assignment(shape):
    scores = RNG.standard_normal(shape)
    rows, cols = linear_sum_assignment(scores, maximize=True)
    found = ga.match(scores=scores)
    assert found.rows.tolist() == rows.tolist()
    assert found.cols.tolist() == cols.tolist()
    assert found.objective == pytest.approx(scores[rows, cols].sum())
    assert found.converged is True
    assert found.gap == 0


def test_features_are_scored_by_their_cosines():
    x, y = RNG.standard_normal((6, 3)), RNG.standard_normal((7, 3))
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (y / np.linalg.norm(y, axis=1, keepdims=True)).T
    found, expected = ga.match(x, y), ga.match(scores=cosines)
    assert found.cols.tolist() == expected.cols.tolist()
    assert found.objective == pytest.approx(expected.objective)


def test_graphs_bring_their_edges_for_solvers_that_read_them():
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    graphs = ga.KNN(k=3)(x), ga.KNN(k=3)(x[order])
    found = ga.match(*graphs, solver="faq")
    assert order[found.cols].tolist() == list(range(10))
    assert found.objective == pytest.approx(10 + 30, abs=1e-4)
    assert ga.match(*graphs).objective == pytest.approx(10, abs=1e-4)


def test_seeds_forbidden_pairs_and_leaving_alone():
    scores = torch.tensor([[5.0, 1.0, 0.0], [4.0, 3.0, 0.0], [0.0, 0.0, -3.0]])
    assert ga.match(scores=scores, seeds=[(1, 0)]).cols.tolist() == [2, 0, 1]
    assert ga.match(scores=scores, forbidden=[(2, 2)]).cols[2] != 2
    assert ga.match(scores=scores, forbidden=torch.eye(3).bool()).cols.tolist() in ([1, 2, 0], [2, 0, 1])
    for same in ({(2, 2)}, scipy.sparse.csr_array(([True], ([2], [2])), (3, 3))):
        assert ga.match(scores=scores, forbidden=same).cols[2] != 2
    alone = ga.match(scores=scores, unmatched=0.0)
    assert (alone.rows.tolist(), alone.cols.tolist(), alone.objective) == ([0, 1], [0, 1], 8.0)
    only = ga.match(scores=scores, unmatched=([9.0, 0.0, 0.0], 0.0))
    assert (only.rows.tolist(), only.cols.tolist(), only.objective) == ([1], [0], 13.0)


def test_a_relaxed_solver_is_rounded():
    scores = RNG.standard_normal((6, 6))
    found = ga.match(scores=scores, solver="sinkhorn(tau=0.02, max_iter=5000)")
    assert found.cols.tolist() == ga.match(scores=scores).cols.tolist()
    assert 0 < found.solution.matching.max() < 1


def test_the_generator_is_the_source_of_random_starts():
    first, second = (RNG.integers(0, 10, (40, 40)).astype(float) for _ in range(2))
    solver = ga.FAQ(exchanges=100)
    found = [
        ga.match(adjacency=(first, second), solver=solver, generator=torch.Generator().manual_seed(seed)).objective
        for seed in (0, 0, 1, 2, 3)
    ]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert solver == ga.FAQ(exchanges=100)


def test_inputs_are_left_alone_and_nothing_wants_a_gradient():
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = scores.detach().clone()
    found = ga.match(scores=scores, adjacency=(scores, scores), solver="faq")
    assert torch.equal(scores, before)
    assert not found.scores.requires_grad


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "nothing to match"),
        ({"x": A}, ValueError, "both x and y"),
        ({"x": A, "y": A[:, :3]}, ValueError, "features of one width"),
        ({"x": A, "y": A, "scores": A}, ValueError, "not both"),
        ({"x": np.full((2, 2), np.nan), "y": A[:, :2]}, ValueError, "must be finite"),
        ({"adjacency": (A, B)}, ValueError, "first order cannot use adjacency"),
        ({"adjacency": A, "solver": "faq"}, ValueError, "a pair"),
        ({"adjacency": (A, B[:3]), "solver": "faq"}, ValueError, r"adjacency\[1\] must be a square matrix"),
        ({"adjacency": (A, B), "scores": A[:3], "solver": "faq"}, ValueError, "adjacency of"),
        ({"adjacency": (A * np.nan, B), "solver": "faq"}, ValueError, "weights that are not finite"),
        ({"scores": [["a", "b"]]}, TypeError, "scores must hold numbers"),
        ({"scores": A, "solver": "lapp"}, ValueError, "Did you mean 'lap'"),
        ({"scores": A[0]}, ValueError, r"a table \(n, m\)"),
        ({"scores": np.zeros((2, 3, 3))}, ValueError, r"a table \(n, m\)"),
        ({"scores": scipy.sparse.csr_array(A), "solver": "lap"}, TypeError, "a dense table"),
        ({"scores": torch.from_numpy(A).to_sparse(), "solver": "lap"}, TypeError, "a dense table"),
        ({"scores": A, "seeds": [(0, 99)]}, ValueError, "there are 9 rows"),
        ({"scores": A, "forbidden": [(0, 99)]}, ValueError, "outside of 9 rows"),
        ({"scores": A, "forbidden": np.ones((9, 9), bool)}, ValueError, "row 0 finds no partner"),
        ({"scores": A, "generator": 3}, TypeError, "torch.Generator"),
    ],
)
def test_mistakes_are_reported(arguments, error, message):
    with pytest.raises(error, match=message):
        ga.match(**arguments)


def careless(problem):
    """A solver that minimises, and reads neither seeds, nor forbidden pairs, nor masks."""
    scores = problem.scores.node
    matching = torch.zeros_like(scores)
    for item in np.ndindex(scores.shape[:-2]):
        matching[item][linear_sum_assignment(scores[item].double())] = 1.0
    return ga.Solution(ga.NodeEdge(matching))


def test_a_solver_that_returns_a_tensor_is_named():
    def forgetful(problem):
        return torch.eye(3)

    scores = torch.eye(3)
    with pytest.raises(TypeError, match="the solver forgetful returned a Tensor; a solver returns a Solution"):
        ga.match(scores=scores, solver=forgetful)
    with pytest.raises(TypeError, match="the solver forgetful returned a Tensor"):
        ga.differentiable(forgetful, ga.Blackbox())(ga.Problem(ga.NodeEdge(scores.requires_grad_())))


def test_a_solver_that_ignores_a_constraint_is_refused():
    scores = [[0.0, 1.0, 2.0], [3.0, 0.5, 1.0], [1.0, 4.0, 0.0]]
    found = ga.match(scores=scores, solver=careless)
    made = dict(zip(found.rows.tolist(), found.cols.tolist(), strict=True))
    other = (0, (made[0] + 1) % 3)
    with pytest.raises(ValueError, match=r"the solver careless did not make the seed \(0, \d\)"):
        ga.match(scores=scores, solver=careless, seeds=[other])
    with pytest.raises(ValueError, match=r"the solver careless made the forbidden pair \(0, \d\)"):
        ga.match(scores=scores, solver=careless, forbidden=[(0, made[0])])
    assert ga.match(scores=scores, solver=careless, seeds=[(0, made[0])], forbidden=[other]).cols.tolist()[0] == made[0]


@pytest.mark.parametrize("asked", [{"seeds": [(0, 2)]}, {"forbidden": torch.eye(3, dtype=torch.bool)}])
def test_a_solver_that_ignores_a_constraint_gets_no_gradient(asked):
    scores = torch.eye(3).sub(1).requires_grad_()
    match = ga.differentiable(careless, ga.StraightThrough())
    with pytest.raises(ValueError, match="the solver careless"):
        match(ga.Problem(ga.NodeEdge(-scores), **asked))


def test_masked_nodes_that_are_matched_are_refused():
    masked = torch.tensor([True, True, False])
    match = ga.differentiable(careless, ga.StraightThrough())
    with pytest.raises(ValueError, match="touches a padded node"):
        match(ga.Problem(ga.NodeEdge(torch.eye(3)), mask1=masked))


def test_a_seed_that_cannot_be_is_told_why():
    with pytest.raises(ValueError, match=r"the pair \(0, 0\), which is forbidden too"):
        ga.match(scores=np.eye(3), seeds=[(0, 0)], forbidden=[(0, 0)])
    with pytest.raises(ValueError, match=r"the pair \(0, 1\), which has the score -inf"):
        ga.match(scores=[[1.0, -np.inf], [0.0, 1.0]], seeds=[(0, 1)])
    with pytest.raises(ValueError, match="touches a padded node"):
        ga.Problem(ga.NodeEdge(torch.eye(2)), mask1=torch.tensor([True, False]), seeds=[(1, 1)])
    with pytest.raises(TypeError, match="node indices"):
        ga.match(scores=np.eye(3), seeds=[("a", "b")])


def test_results_are_one_line_each():
    found = ga.match(scores=[[5.0, 1.0], [4.0, 3.0]])
    assert repr(found) == "Match(2 pairs, objective=8, gap=0.0, converged=True)"
    batch = ga.Lap()(ga.Problem(ga.NodeEdge(torch.eye(3).expand(2, 3, 3))))
    assert repr(batch).startswith("Solution(matching (2, 3, 3), ")
    with pytest.raises(ValueError, match=r"match\(scores=C\)"):
        ga.match(torch.eye(3))
