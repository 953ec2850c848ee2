"""The auction against the exact solver: what it certifies is true."""

import pytest
import torch
from draws import normal

from graphalign import Auction, Lap, NodeEdge, Problem, marginal_error, objective
from graphalign.solvers import auction


def _gap(problem, solution):
    """The true distance from the optimum in the units of `residual`, by the exact solver."""
    rows, cols = problem.real1().sum(-1), problem.real2().sum(-1)
    values = problem.scores.node if problem.unmatched is None else problem.scores.node - 2 * problem.unmatched
    low = values.where(problem.allowed(), torch.inf).amin((-2, -1)) if problem.unmatched is None else 0.0
    spread = values.where(problem.allowed(), -torch.inf).amax((-2, -1)) - low
    missing = objective(problem, Lap()(problem).value) - objective(problem, solution.value)
    return missing / torch.minimum(rows, cols).clamp_min(1) / spread.where(spread > 0, 1.0)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("unmatched", [None, 0.3])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (20, 20), (12, 30), (30, 12), (19, 20)])
def test_the_residual_bounds_the_true_gap(shape, unmatched, tol):
    for values in (normal(4, *shape), normal(4, *shape).round()):
        problem = Problem(NodeEdge(values), unmatched=unmatched)
        solution = Auction(tol=tol)(problem)
        gap = _gap(problem, solution)
        assert solution.converged.all()
        assert (gap <= solution.residual + 1e-12).all()
        assert (solution.residual <= tol + 1e-6).all()
        assert (marginal_error(solution.matching, problem) == 0).all() or unmatched is not None


def test_a_coarse_tolerance_costs_score_and_the_residual_says_so():
    problem = Problem(NodeEdge(normal(64, 16, 16)))
    coarse, fine = Auction(tol=0.2)(problem), Auction(tol=1e-6)(problem)
    assert (_gap(problem, coarse) > 1e-3).any()
    assert _gap(problem, fine).abs().max() < 1e-12
    assert coarse.residual.max() > 10 * fine.residual.max()


def test_masks_cut_each_problem_to_its_own_shape():
    rng = torch.Generator().manual_seed(2)
    masks = {"mask1": torch.rand(20, 6, generator=rng) < 0.6, "mask2": torch.rand(20, 8, generator=rng) < 0.6}
    masks["mask1"][0] = False
    for unmatched in (None, 0.2):
        problem = Problem(NodeEdge(normal(20, 6, 8)), unmatched=unmatched, **masks)
        solution = Auction(tol=1e-6)(problem)
        assert torch.equal(solution.matching, Lap()(problem).matching)
        assert solution.converged.all()
        assert (solution.residual >= 0).all()


def test_a_batch_that_stops_early_is_feasible_and_says_so():
    problem = Problem(NodeEdge(normal(8, 40, 40)))
    solution = Auction(max_iter=3)(problem)
    assert not solution.converged.any()
    assert (marginal_error(solution.matching, problem) == 0).all()
    gap = _gap(problem, solution)
    assert (gap > 0).all()
    assert (gap <= solution.residual).all()


def test_favourites_that_differ_take_no_round(monkeypatch):
    monkeypatch.setattr(auction._Market, "_bid", lambda *_: pytest.fail("a bid was made"))
    problem = Problem(NodeEdge(torch.eye(6).flip(0)[None] + 0.1 * normal(3, 6, 6)))
    solution = Auction()(problem)
    assert torch.equal(solution.matching, Lap()(problem).matching)
    assert (solution.residual == 0).all()


def test_stopping_is_each_problems_own():
    """An easy problem beside a hard one gets what it gets alone, to the last digit."""
    scores = torch.stack([normal(25, 25), torch.eye(25, dtype=torch.float64), normal(25, 25, seed=1).round()])
    together = Auction()(Problem(NodeEdge(scores)))
    for item in range(3):
        alone = Auction()(Problem(NodeEdge(scores[item])))
        assert torch.equal(together.matching[item], alone.matching)
        assert torch.equal(together.residual[item], alone.residual)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 3e38])
def test_scores_of_any_size_and_offset(scale):
    scores = normal(4, 9, 9).clamp(-1, 1).float()
    expected = Lap()(Problem(NodeEdge(scores))).matching
    assert torch.equal(Auction(tol=1e-6)(Problem(NodeEdge(scores * scale))).matching, expected)


def test_constant_scores_and_products_are_solved():
    index = torch.arange(1.0, 31)
    for values in (torch.ones(30, 30), -index[:, None] * index, index[:, None] * index):
        problem = Problem(NodeEdge(values.double()))
        solution = Auction(tol=1e-5)(problem)
        assert solution.converged
        assert _gap(problem, solution) <= 1e-5


@pytest.mark.gpu
def test_on_a_gpu_nothing_changes():
    problem = Problem(NodeEdge(normal(16, 60, 64).float()))
    there = Problem(NodeEdge(problem.scores.node.cuda()))
    found = Auction()(there)
    assert found.matching.device.type == "cuda"
    assert torch.equal(found.matching.cpu(), Auction()(problem).matching)


def test_arguments_are_checked():
    for settings in ({"tol": 0.0}, {"tol": float("nan")}, {"max_iter": 0}):
        with pytest.raises(ValueError, match="Auction: "):
            Auction(**settings)
