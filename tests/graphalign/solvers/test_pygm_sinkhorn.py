"""The adapter to pygmtools against our own Sinkhorn, in every case that the engine alone gets wrong."""

import pytest
import torch
from draws import normal

from graphalign import NodeEdge, Problem, PygmSinkhorn, Sinkhorn, Unrolled, differentiable, marginal_error

DOUBLE = torch.float64
CASES = [
    pytest.param(shape, masked, unmatched, id=f"{shape}-{'masked' if masked else 'whole'}-{unmatched}")
    for shape in [(4, 4), (3, 6), (6, 3)]
    for masked in (False, True)
    for unmatched in (None, 0.2)
]


def _problem(scores, masked=False, unmatched=None):
    n, m = scores.shape[-2:]
    masks = {"mask1": torch.arange(n) != 1, "mask2": torch.arange(m) < m - 1} if masked else {}
    return Problem(NodeEdge(scores), unmatched=unmatched, **masks)


@pytest.mark.parametrize(("shape", "masked", "unmatched"), CASES)
def test_converged_plan_and_gradient_are_those_of_sinkhorn(shape, masked, unmatched):
    scores, weights = normal(3, *shape).requires_grad_(), normal(3, *shape, seed=1)
    plans, grads = [], []
    for solver in (PygmSinkhorn(tau=0.4, max_iter=400), Sinkhorn(tau=0.4, max_iter=400, tol=0.0)):
        plan = differentiable(solver, Unrolled())(_problem(scores, masked, unmatched)).matching
        plans.append(plan)
        grads += torch.autograd.grad(plan, scores, weights)
    assert torch.allclose(*plans, atol=1e-9)
    assert torch.allclose(*grads, atol=1e-8)
    assert grads[0].abs().max() > 1e-2


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_a_round_is_a_row_and_a_column_update(rounds):
    """Before convergence already, where no stand-in column takes part; pygmtools itself counts half rounds."""
    for shape in [(5, 5), (3, 5)]:
        problem = _problem(2 * normal(2, *shape))
        ours, theirs = (S(tau=0.3, max_iter=rounds, tol=0.0)(problem) for S in (Sinkhorn, PygmSinkhorn))
        assert torch.allclose(theirs.matching, ours.matching, atol=1e-12)
        assert torch.allclose(theirs.residual, ours.residual, atol=1e-12)


def test_convergence_is_reported_as_it_is():
    scores = torch.stack([torch.eye(6, dtype=DOUBLE), 3 * normal(6, 6)])
    solution = PygmSinkhorn(tau=0.05, max_iter=20)(Problem(NodeEdge(scores)))
    assert solution.converged.tolist() == [True, False]
    assert torch.allclose(solution.residual, (solution.matching.sum(-1) - 1).abs().amax(-1))
    assert solution.residual[1] > 1e-3


@pytest.mark.parametrize("shape", [(3, 6), (6, 3)])
def test_rectangles_are_matchings(shape):
    matching = PygmSinkhorn(max_iter=2000)(_problem(0.3 * normal(4, *shape))).matching
    assert (marginal_error(matching) < 1e-3).all()


@pytest.mark.parametrize("unmatched", [None, 0.1])
def test_graphs_without_real_nodes_get_nothing_and_no_nan(unmatched):
    scores, mask = normal(2, 3, 4).requires_grad_(), torch.tensor([[False] * 3, [True] * 3])
    solution = differentiable(PygmSinkhorn(), Unrolled())(Problem(NodeEdge(scores), mask1=mask, unmatched=unmatched))
    (solution.matching * normal(2, 3, 4, seed=1)).sum().backward()
    assert (solution.matching[0] == 0).all()
    assert (scores.grad[0] == 0).all()
    assert scores.grad.isfinite().all()
    assert scores.grad[1].abs().sum() > 0


def test_all_leading_dimensions_are_batch():
    scores = normal(2, 3, 4, 4)
    solution = PygmSinkhorn()(Problem(NodeEdge(scores)))
    assert solution.residual.shape == (2, 3)
    assert torch.allclose(solution.matching[1, 2], PygmSinkhorn()(Problem(NodeEdge(scores[1, 2]))).matching)


def test_half_precision_is_computed_in_single():
    scores = normal(2, 4, 5).bfloat16()
    matching = PygmSinkhorn()(Problem(NodeEdge(scores))).matching
    assert matching.dtype == torch.bfloat16
    assert torch.equal(matching, PygmSinkhorn()(Problem(NodeEdge(scores.float()))).matching.bfloat16())


@pytest.mark.parametrize("scale", [1e-6, 1e4, 1e30])
def test_scores_of_any_size_give_numbers(scale):
    solution = PygmSinkhorn(tau=0.01, max_iter=20)(Problem(NodeEdge(scale * normal(3, 5, 5).float())))
    assert solution.matching.isfinite().all()
    assert torch.equal(solution.converged, solution.residual <= 1e-4)


@pytest.mark.parametrize("options", [{}, {"unmatched": 0.1}, {"mask1": torch.arange(5) < 4}], ids=str)
def test_scores_that_overflow_at_their_temperature_are_refused(options):
    with pytest.raises(ValueError, match="scale the scores, or raise tau"):
        PygmSinkhorn(tau=0.1)(Problem(NodeEdge(torch.full((2, 5, 5), 3e38)), **options))


@pytest.mark.parametrize("options", [{"tau": 0.0}, {"max_iter": 0}, {"max_iter": 1.5}, {"tol": -1.0}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PygmSinkhorn(**options)


def test_masks_of_real_nodes_alone_leave_the_batch_whole(monkeypatch):
    """One by one it would take as many calls as there are problems."""
    monkeypatch.setattr(PygmSinkhorn, "_solve_each", None)
    scores = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0))
    everyone = torch.ones(5, 4, dtype=torch.bool)
    plan = PygmSinkhorn()(Problem(NodeEdge(scores), mask1=everyone, mask2=everyone)).matching
    assert torch.equal(plan, PygmSinkhorn()(Problem(NodeEdge(scores))).matching)
