"""Numbers at the edge of what a dtype holds: a right answer or a sentence, never a wrong figure."""

import pytest
import torch

from graphalign import BruteForce, NodeEdge, Problem, build, match, objective

HUGE = 1.2e308


@pytest.mark.parametrize("name", ["lap", "lap(engine='lapx')", "hungarian", "brute_force", "faq"])
def test_an_objective_beyond_float64_is_not_given(name):
    """The matching is right, as its scores are scaled; infinity for both sums would be a gap of nothing."""
    scores = HUGE * torch.tensor([[1.0, 0.5], [0.75, 1.0]], dtype=torch.float64)
    found = build("solver", name)(Problem(NodeEdge(scores)))
    assert found.matching.tolist() == [[1, 0], [0, 1]]
    assert (found.objective, found.bound, found.gap) == (None, None, None)


@pytest.mark.parametrize("solver", ["lap", "greedy"])
def test_one_call_refuses_it(solver):
    with pytest.raises(ValueError, match="match: the objective overflows float64"):
        match(scores=[[HUGE, 1.0], [1.0, HUGE]], solver=solver)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lap", "hungarian", "brute_force"])
def test_large_scores_of_staying_alone_leave_small_scores_as_they_are(name, dtype):
    """Even those of a padded node, and of another problem of the batch."""
    scores = torch.tensor([[[0.5, 0.25], [0.25, 0.5]], [[0.5, 0.25], [0.25, 0.5]]], dtype=dtype)
    alone = torch.tensor([[0.0, 0.0], [1e308, 0.0]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    mask = torch.tensor([[True, True], [False, True]])
    found = build("solver", name)(Problem(NodeEdge(scores), unmatched=alone, mask1=mask))
    assert found.matching.tolist() == [[[1, 0], [0, 1]], [[0, 0], [0, 1]]]
    assert found.matching.dtype == dtype
    assert found.objective.tolist() == pytest.approx([1.0, 0.5])


def test_edges_between_the_same_nodes_may_sum_up_to_more_than_float32_holds():
    twice = torch.tensor([[0, 0], [1, 1]])
    edge = torch.full((2, 2), 3e38)
    forbidden = torch.tensor([[True, False, False], [False, False, False]])
    for name in ("brute_force", "faq", "ipfp", "sm"):
        problem = Problem(NodeEdge(torch.zeros(2, 3), edge), twice, twice, forbidden=forbidden)
        assert (build("solver", name)(problem).matching[forbidden] == 0).all()


def _large_products():
    """Two paths whose edges, of a size that float64 does not hold, say that 0, 1, 2 go to 2, 0, 1."""
    edges = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
    factors = tuple(torch.full((2, 1), 1e200, dtype=torch.float64) for _ in range(2))
    return Problem(NodeEdge(torch.eye(3, dtype=torch.float64), factors=factors), *edges)


@pytest.mark.parametrize("name", ["brute_force", "faq", "fgw", "ipfp", "sm"])
def test_products_of_factors_may_be_beyond_float64(name):
    found = build("solver", name)(_large_products())
    assert found.matching.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert found.objective is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_objective_is_float64_whatever_the_scores_are(dtype):
    generator = torch.Generator().manual_seed(0)
    factors = tuple(torch.randn(6, 2, generator=generator).to(dtype) for _ in range(2))
    edges = torch.randint(4, (2, 6), generator=generator), torch.randint(4, (2, 6), generator=generator)
    problem = Problem(NodeEdge(torch.randn(4, 4, generator=generator).to(dtype), factors=factors), *edges)
    wide = problem.with_scores(problem.scores.to(torch.float64))
    found, expected = BruteForce()(problem), BruteForce()(wide)
    assert found.objective.dtype == torch.float64
    assert float(found.objective) == pytest.approx(float(objective(wide, expected.value)), rel=1e-14)


def test_a_solver_without_edges_speaks_of_itself():
    with pytest.raises(ValueError, match=r"^FAQ got 9 node scores that are not finite"):
        build("solver", "faq")(Problem(NodeEdge(torch.full((3, 3), torch.nan))))


def test_bounds_of_scores_that_are_scaled_down_count_for_the_scores_as_they_are():
    """Edges beside node scores near the largest number, also where no pair is open and all stay alone."""
    edges = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
    factors = tuple(torch.full((2, 1), 1e140, dtype=torch.float64) for _ in range(2))
    scores = NodeEdge(2e285 * torch.eye(3, dtype=torch.float64), factors=factors)
    found = build("solver", "faq")(Problem(scores, *edges))
    assert 0 <= float(found.gap) <= 1e-9
    shut = torch.ones(3, 3, dtype=torch.bool)
    found = build("solver", "faq")(Problem(scores, *edges, unmatched=1e285, forbidden=shut))
    assert float(found.objective) == pytest.approx(6e285)
    assert float(found.gap) <= 1e-9


def test_what_seeds_score_by_their_edges_may_be_more_than_float32_holds():
    edges = torch.tensor([[0, 0, 1], [1, 1, 2]]), torch.tensor([[0, 0, 1], [1, 1, 2]])
    problem = Problem(NodeEdge(torch.zeros(3, 3), torch.full((3, 3), 3e38)), *edges, seeds=[(0, 0)])
    for name in ("brute_force", "faq", "fgw", "ipfp", "sm"):
        assert torch.equal(build("solver", name)(problem).matching, torch.eye(3))
