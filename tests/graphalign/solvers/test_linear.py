"""The exact first-order solvers against each other and against scipy."""

import sys
import types

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from graphalign import BruteForce, Greedy, Hungarian, Lap, NodeEdge, Problem, objective
from graphalign.solvers.lap import load_engine

EXACT = [Hungarian(), Lap(engine="numba"), Lap(engine="lapx"), BruteForce()]


def _problems(seed):
    """Random, tied, rectangular, padded and partial problems of up to six nodes."""
    rng = torch.Generator().manual_seed(seed)
    n, m = (int(x) for x in torch.randint(1, 7, (2,), generator=rng))
    scores = torch.randn(4, n, m, generator=rng, dtype=torch.float64)
    masks = [torch.rand(4, size, generator=rng) < 0.7 for size in (n, m)]
    unmatched = float(torch.randn((), generator=rng) * 0.4)
    for values in (scores, scores.round()):
        for mask1, mask2 in ((None, None), masks, (masks[0], None)):
            for score in (None, unmatched):
                yield Problem(NodeEdge(values), mask1=mask1, mask2=mask2, unmatched=score)


@pytest.mark.parametrize("seed", range(12))
def test_exact_solvers_reach_the_same_objective(seed):
    for problem in _problems(seed):
        values = [solver(problem).value for solver in EXACT]
        totals = torch.stack([objective(problem, value) for value in values])
        assert torch.allclose(totals, totals[:1], atol=1e-10)
        if problem.unmatched is None:
            pairs = torch.minimum(problem.real1().sum(-1), problem.real2().sum(-1))
            assert all(torch.equal(value.node.sum((-2, -1)), pairs.double()) for value in values)


@pytest.mark.parametrize("shape", [(1, 1), (17, 17), (20, 31), (31, 20), (128, 128)])
@pytest.mark.parametrize("solver", [Hungarian(), Lap(engine="numba"), Lap(engine="lapx")], ids=repr)
def test_the_optimum_is_scipys(solver, shape):
    scores = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = objective(Problem(NodeEdge(scores)), solver(Problem(NodeEdge(scores))).value)
    for s, total in zip(scores.double().numpy(), found, strict=True):
        rows, cols = linear_sum_assignment(s, maximize=True)
        assert np.isclose(s[rows, cols].sum(), float(total), atol=1e-4)


def test_a_pair_is_made_exactly_when_it_beats_twice_the_score_of_being_alone():
    for solver in [*EXACT, Greedy()]:
        for score, pairs in ((0.59, 0.0), (0.61, 1.0)):
            problem = Problem(NodeEdge(torch.tensor([[score]])), unmatched=0.3)
            assert solver(problem).matching.item() == pairs


def test_greedy_is_greedy_and_reaches_half_of_the_optimum():
    scores = torch.tensor([[0.9, 0.8], [0.8, 0.0]])
    assert torch.equal(Greedy()(Problem(NodeEdge(scores))).matching, torch.eye(2))
    positive = Problem(NodeEdge(torch.rand(50, 6, 6, generator=torch.Generator().manual_seed(0))))
    best, found = (objective(positive, solver(positive).value) for solver in (Lap(), Greedy()))
    assert (found >= best / 2).all()
    assert (found < best - 1e-6).any()


def _one_after_the_other(scores, floor):
    left, matching = scores.clone(), torch.zeros_like(scores)
    for _ in range(min(scores.shape)):
        i, a = divmod(int(left.argmax()), scores.shape[1])
        if not left[i, a] > floor:
            break
        matching[i, a] = 1
        left[i], left[:, a] = -torch.inf, -torch.inf
    return matching


@pytest.mark.parametrize("unmatched", [None, 0.2])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (6, 6), (7, 3)])
def test_greedy_takes_in_rounds_what_one_after_the_other_would_be_taken(n, m, unmatched):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, n, m, generator=generator)
    scores[::2] = scores[::2].round()  # ties go by place
    expected = torch.stack(
        [_one_after_the_other(x, -torch.inf if unmatched is None else 2 * unmatched) for x in scores]
    )
    assert torch.equal(Greedy()(Problem(NodeEdge(scores), unmatched=unmatched)).matching, expected)


def test_an_empty_batch_gives_an_empty_batch():
    for solver in [*EXACT, Greedy()]:
        assert solver(Problem(NodeEdge(torch.zeros(0, 3, 3)))).matching.shape == (0, 3, 3)


def test_the_older_lap_package_is_recognised(monkeypatch):
    older = types.ModuleType("lap")
    older.__file__ = "/somewhere/lap/__init__.py"
    monkeypatch.setitem(sys.modules, "lap", older)
    load_engine.cache_clear()
    with pytest.raises(ImportError, match=r"/somewhere/lap/__init__.py is not lapx .* pip install"):
        Lap(engine="lapx")(Problem(NodeEdge(torch.eye(2))))


def test_first_order_solvers_name_those_that_read_edges():
    ring = torch.tensor([[0, 1], [1, 0]])
    problem = Problem(NodeEdge(torch.eye(2), torch.eye(2)), ring, ring)
    with pytest.raises(ValueError, match=r"Lap is a first-order solver.*brute_force, faq.*drop the edge scores"):
        Lap()(problem)
