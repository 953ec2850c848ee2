"""`faq` among candidates: beside `faq` among all pairs, and with everything that a problem may hold."""

import sys

import numpy as np
import pytest
import scipy.sparse
import torch

import graphalign as ga
from graphalign import FAQ, Factors, NodeEdge, Problem, Sparse, objective
from graphalign.solvers.candidate_edges import CandidateEdges
from graphalign.solvers.candidates import Candidates
from graphalign.solvers.pair_scores import TableScores


def planted(n, noise, *, seed=0, spare=0, rank=1, weight=0.5):
    """Points and their nearest neighbours, and a shuffled copy that lacks a tenth of the edges; the true columns."""
    random = np.random.default_rng(seed)
    points, m = random.random((n, 2)), n + spare
    near = np.argsort(((points[:, None] - points) ** 2).sum(-1), 1)[:, 1:5]
    edges = np.unique(np.sort(np.stack([np.repeat(np.arange(n), 4), near.ravel()]), 0), axis=1)
    values = random.random((edges.shape[1], rank)) ** (rank > 1)
    sides = []
    for _ in range(2):
        kept = random.random(edges.shape[1]) < 0.9
        ends = np.concatenate([edges[:, kept], edges[::-1, kept]], 1)
        sides.append((ends, weight**0.5 * np.concatenate([values[kept]] * 2)))
    truth = random.permutation(m)[:n]
    x = random.standard_normal((n, 8))
    y = random.standard_normal((m, 8))
    y[truth] = x + noise * random.standard_normal((n, 8))
    (ends1, first), (ends2, second) = sides
    tensors = (torch.from_numpy(z) for z in (x, y, first, second, ends1, truth[ends2]))
    x, y, first, second, edges1, edges2 = tensors
    return Problem(Factors(x, y, factors=(first, second)), edges1, edges2), truth


def written_out(problem):
    return problem.with_scores(NodeEdge(problem.scores.node, factors=problem.scores.factors))


def columns_of(solution, n):
    found = np.full(n, -1)
    rows, columns = solution.pairs()
    found[rows] = columns
    return found


def check_matching(problem, solution):
    """One-to-one, and of the objective that it says."""
    matching = solution.matching.to_dense()
    assert matching.sum(0).max() <= 1
    assert matching.sum(1).max() <= 1
    if problem.unmatched is None:
        assert matching.sum() == min(matching.shape)
    table = written_out(problem) if isinstance(problem.scores, Factors) else problem
    total = objective(table, table.value(matching))
    assert float(solution.objective) == pytest.approx(float(total), rel=1e-9)
    return float(total)


@pytest.mark.parametrize("spare", [0, 15, -1])
@pytest.mark.parametrize("rank", [1, 3])
def test_planted_graphs_are_found_as_among_all_pairs(spare, rank):
    problem, truth = planted(120, 0.8, spare=max(spare, 0), rank=rank, seed=3, weight=1.0)
    if spare < 0:  # more rows than columns
        problem = Problem(problem.scores.turned(), problem.edges2, problem.edges1)
    solution = FAQ(candidates=8)(problem)
    everything = FAQ()(problem)
    assert everything.matching.layout == torch.strided
    assert solution.matching.layout == torch.sparse_coo
    reached = check_matching(problem, solution)
    wanted = float(objective(written_out(problem), written_out(problem).value(everything.matching)))
    assert reached >= 0.99 * wanted
    if spare >= 0:
        alone = Sparse()(Problem(problem.scores.without_edges()))
        shares = [(columns_of(x, 120) == truth).mean() for x in (alone, solution)]
        assert shares[0] < 0.8
        assert shares[1] > 0.95


def test_without_numba_the_same_holds(monkeypatch):
    problem, _ = planted(80, 0.6, rank=2)
    wanted = FAQ(candidates=8)(problem)
    monkeypatch.setitem(sys.modules, "graphalign.solvers.candidate_products", None)
    assert float(FAQ(candidates=8)(problem).objective) == pytest.approx(float(wanted.objective), rel=1e-9)


@pytest.mark.parametrize("compiled", [True, False])
def test_gradients_are_those_of_the_matrices(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setitem(sys.modules, "graphalign.solvers.candidate_products", None)
    random = np.random.default_rng(0)
    n, m = 20, 30
    pairs = [(random.random((n, n)) * (random.random((n, n)) < 0.2), random.random((m, m))) for _ in range(2)]
    edges = CandidateEdges.of(tuple(tuple(scipy.sparse.csr_array(x) for x in pair) for pair in pairs))
    assert not edges.symmetric
    lists = Candidates(n, m)
    lists.add(random.choice(n * m, 200, replace=False), TableScores(torch.zeros(n, m)))
    values = random.random(200)
    x = np.zeros((n, m))
    x[lists.keys // m, lists.keys % m] = values
    whole = sum(a @ x @ b.T + a.T @ x @ b for a, b in pairs)
    assert edges.gradient(lists, values) == pytest.approx(whole[lists.keys // m, lists.keys % m])
    columns = np.where(np.arange(n) < 15, random.permutation(m)[:n], -1)
    x = np.zeros((n, m))
    x[np.arange(15), columns[:15]] = 1
    whole, found = sum(a @ x @ b.T + a.T @ x @ b for a, b in pairs), np.zeros((n, m))
    for part in edges.around(columns):
        found[part.rows, part.columns] = part.values
    assert found == pytest.approx(whole)


def test_seeds_forbidden_pairs_masks_and_nodes_alone():
    problem, truth = planted(100, 1.0, spare=10, seed=1)
    n, m = problem.scores.frame.shape
    fixed = [(row, int(truth[row])) for row in range(10)]
    mask1, mask2 = torch.ones(n, dtype=torch.bool), torch.ones(m, dtype=torch.bool)
    mask1[90:], mask2[truth[90:]] = False, False
    bad = torch.zeros(n, m, dtype=torch.bool)
    bad[20, truth[20]] = True
    for unmatched in (None, 0.4):
        whole = Problem(
            problem.scores, problem.edges1, problem.edges2, mask1, mask2, seeds=fixed, forbidden=bad.to_sparse(),
            unmatched=unmatched,
        )  # fmt: skip
        solution = FAQ(candidates=8)(whole)
        matching = solution.matching.to_dense()
        assert all(matching[row, column] == 1 for row, column in fixed)
        assert matching[20, truth[20]] == 0
        assert not matching[~mask1].any()
        assert not matching[:, ~mask2].any()
        dense = Problem(
            written_out(problem).scores, problem.edges1, problem.edges2, mask1, mask2, seeds=fixed, forbidden=bad,
            unmatched=unmatched,
        )  # fmt: skip
        total = float(objective(dense, dense.value(matching)))
        assert float(solution.objective) == pytest.approx(total, rel=1e-9)
        best = FAQ()(dense)
        assert total >= 0.97 * float(objective(dense, dense.value(best.matching)))
        if unmatched is None:
            assert matching.sum() == 90


def test_seeds_help_through_the_edges():
    problem, truth = planted(150, 2.0, seed=2, weight=1.0)
    fixed = [(row, int(truth[row])) for row in range(0, 150, 3)]
    alone = columns_of(FAQ(candidates=6)(problem), 150)
    seeded = columns_of(FAQ(candidates=6)(Problem(problem.scores, problem.edges1, problem.edges2, seeds=fixed)), 150)
    others = np.arange(150) % 3 != 0
    assert (seeded[others] == truth[others]).mean() > (alone[others] == truth[others]).mean()
    assert (seeded[others] == truth[others]).mean() > 0.8


def test_scores_in_a_sparse_tensor_are_the_only_pairs():
    problem, truth = planted(60, 0.5)
    random = np.random.default_rng(0)
    listed = random.random((60, 60)) < 0.1
    listed[np.arange(60), truth] = True
    listed[0, truth[0]] = False
    listed[0, truth[1]], listed[1, truth[0]] = True, True
    rows, columns = np.nonzero(listed)
    values = torch.from_numpy(random.random(len(rows)))
    scores = torch.sparse_coo_tensor(np.stack([rows, columns]), values, (60, 60), check_invariants=True)
    whole = Problem(NodeEdge(scores, factors=problem.scores.factors), problem.edges1, problem.edges2)
    solution = FAQ()(whole)
    found = solution.pairs()
    assert listed[found[0], found[1]].all()
    assert len(found[0]) == 60
    assert (columns_of(solution, 60) == truth).mean() > 0.9
    one = torch.sparse_coo_tensor([[0, 1], [0, 0]], [1.0, 1.0], (60, 60), dtype=torch.float64, check_invariants=True)
    with pytest.raises(ValueError, match="infeasible"):
        FAQ()(Problem(NodeEdge(one, factors=problem.scores.factors), problem.edges1, problem.edges2))


def test_a_warm_start_and_further_starts():
    problem, truth = planted(80, 1.5, seed=4)
    right = torch.zeros(80, 80).index_put((torch.arange(80), torch.from_numpy(truth)), torch.tensor(1.0))
    for init in (right, right.to_sparse()):
        solution = FAQ(candidates=8)(Problem(problem.scores, problem.edges1, problem.edges2, init=init))
        assert float(solution.objective) >= float(FAQ(candidates=8)(problem).objective) * 0.98
    once, more = (float(FAQ(candidates=8, restarts=count)(problem).objective) for count in (0, 4))
    assert more >= once
    assert float(FAQ(candidates=8, restarts=4)(problem).objective) == more
    with pytest.raises(ValueError, match="init"):
        FAQ(candidates=8)(Problem(problem.scores, problem.edges1, problem.edges2, init=right[:4]))


def test_match_takes_features_and_graphs_of_many_nodes(monkeypatch):
    problem, truth = planted(120, 0.8, seed=3, weight=1.0)
    n = len(truth)
    first, second = (
        scipy.sparse.csr_array((weights[:, 0].numpy(), tuple(edges.numpy())), (n, n))
        for weights, edges in zip(problem.scores.factors, (problem.edges1, problem.edges2), strict=True)
    )
    monkeypatch.setattr(Factors, "node", property(lambda self: pytest.fail("the table was written out")))
    x, y = problem.scores.x.numpy(), problem.scores.y.numpy()
    found = ga.match(x, y, adjacency=(first, second), solver="faq(candidates=8)", forbidden=[(0, int(truth[0]))])
    assert (found.cols.numpy()[1:] == truth[1:]).mean() > 0.95
    dense = np.zeros((n, n))
    dense[found.rows, found.cols] = 1
    cosines = (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    assert found.objective == pytest.approx((cosines * dense).sum() + (first @ dense @ second.T * dense).sum())
    assert found.scores.numpy() == pytest.approx(cosines[found.rows, found.cols])
    assert found.converged is not None
    only = ga.match(x, y, solver="sparse(gap=1e-7)")
    assert only.gap <= 1e-7
    assert only.objective == pytest.approx((cosines[only.rows, only.cols]).sum())


def test_match_takes_sparse_scores():
    scores = scipy.sparse.csr_array(np.array([[5.0, 1.0, 0.0], [4.0, 3.0, 0.0], [0.0, 2.0, 1.0]]))
    found = ga.match(scores=scores, solver="sparse")
    assert (found.cols.tolist(), found.objective) == ([0, 1, 2], 9.0)
    assert found.scores.tolist() == [5.0, 3.0, 1.0]
    path = np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    both = ga.match(scores=scores, adjacency=(path, path), solver="faq")
    assert (both.cols.tolist(), both.objective) == ([0, 1, 2], 13.0)


def test_many_pairs_of_factors_are_not_all_looked_at():
    small, _ = planted(30, 0.5)
    assert FAQ().candidates_of(small) is None
    x = torch.zeros(5000, 1)
    none = torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 1)
    large = Problem(Factors(x, x, factors=(none[1], none[1])), none[0], none[0])
    assert FAQ().candidates_of(large) == 16
    assert FAQ(candidates=3).candidates_of(large) == 3


def test_what_candidates_cannot_do_is_said():
    problem, _ = planted(30, 0.5)
    table = written_out(problem)
    many = NodeEdge(table.scores.node.expand(2, -1, -1), factors=table.scores.factors)
    with pytest.raises(ValueError, match="not of a batch"):
        FAQ(candidates=4)(Problem(many, problem.edges1, problem.edges2))
    edge = table.scores.factors[0] @ table.scores.factors[1].mT
    with pytest.raises(ValueError, match="as factors"):
        FAQ(candidates=4)(Problem(NodeEdge(table.scores.node, edge), problem.edges1, problem.edges2))
    with pytest.raises(ValueError, match="candidates"):
        FAQ(candidates=0)
    with pytest.raises(ValueError, match="no exchanges among candidates"):
        FAQ(candidates=4, exchanges=100)(problem)
    solution = FAQ(candidates=30)(table)
    assert solution.matching.layout == torch.strided
    check_matching(table, solution)


PATH = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def test_few_nodes_with_fixed_pairs():
    found = ga.match(adjacency=(PATH, PATH), solver="faq(candidates=2)", seeds=[(0, 1)])
    assert found.cols[0] == 1
    assert found.objective == 2.0


def test_all_pairs_forbidden():
    nothing = {"forbidden": np.ones((3, 3), bool), "unmatched": 0.5}
    found = ga.match(adjacency=(PATH, PATH), solver="faq(candidates=2)", **nothing)
    assert len(found.rows) == 0
    assert found.objective == 3.0


@pytest.mark.parametrize("turned", [False, True])
def test_listed_pairs_that_leave_no_matching(turned):
    listed = scipy.sparse.coo_array(([1.0, 2.0, 3.0], ([1, 1, 2], [0, 2, 2])), shape=(3, 3))
    listed = listed.T if turned else listed
    with pytest.raises(ValueError, match=r"infeasible: row [01] cannot have a partner"):
        ga.match(scores=listed, adjacency=(PATH, PATH), solver="faq")


@pytest.mark.parametrize("solver", ["faq", "sparse"])
def test_seeds_beside_listed_pairs_are_allowed_ones(solver):
    listed = scipy.sparse.coo_array(([1.0, 2.0, 3.0, 1.0], ([0, 1, 2, 1], [0, 1, 2, 0])), shape=(3, 3))
    given = {"scores": listed, "solver": solver} | ({"adjacency": (PATH, PATH)} if solver == "faq" else {})
    assert ga.match(**given, seeds=[(1, 1)]).cols.tolist() == [0, 1, 2]
    barred = np.eye(3, dtype=bool)
    for wrong in (
        {"seeds": [(0, 1)]},
        {"seeds": [(1, 1)], "forbidden": barred},
        {"seeds": [(1, 1)], "forbidden": scipy.sparse.coo_array(barred)},
    ):
        with pytest.raises(ValueError, match=r"fixes the pair \(\d, 1\), which is forbidden, not listed"):
            ga.match(**given, **wrong)


def test_seeds_of_features_are_not_forbidden():
    x = np.random.default_rng(0).random((3, 2))
    with pytest.raises(ValueError, match=r"fixes the pair \(1, 1\), which is forbidden"):
        ga.match(x, x, solver="sparse", seeds=[(1, 1)], forbidden=[(1, 1)])
