"""Gradients through the rounds themselves against finite differences, converged or not."""

import pytest
import torch
from draws import normal

from graphalign import Implicit, NodeEdge, Problem, PygmSinkhorn, Sinkhorn, Unrolled, differentiable

DOUBLE = torch.float64
CASES = [
    pytest.param(shape, masks, unmatched, id=f"{shape}-{'masked' if masks else 'whole'}-{unmatched}")
    for shape in [(4, 4), (3, 5), (5, 3)]
    for masks in (False, True)
    for unmatched in (None, 0.2)
]
#: Far from converged: a gradient of the limit would not pass.
SOLVERS = [Sinkhorn(tau=0.4, max_iter=3, tol=0.0), PygmSinkhorn(tau=0.4, max_iter=3)]


def _options(shape, masks, unmatched):
    n, m = shape
    return {
        "unmatched": unmatched,
        "mask1": torch.arange(n) != 1 if masks else None,
        "mask2": torch.arange(m) < m - 1 if masks else None,
    }


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("shape", "masks", "unmatched"), CASES)
def test_finite_differences_agree(solver, shape, masks, unmatched):
    match, options = differentiable(solver, Unrolled()), _options(shape, masks, unmatched)
    plan = lambda s: match(Problem(NodeEdge(s), **options)).matching  # noqa: E731
    assert torch.autograd.gradcheck(plan, (normal(2, *shape).requires_grad_(),), atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("shape", "masks", "unmatched"), CASES)
def test_recording_does_not_change_the_plan(solver, shape, masks, unmatched):
    """Sinkhorn takes another route when autograd looks on."""
    scores, options = normal(2, *shape), _options(shape, masks, unmatched)
    recorded = differentiable(solver, Unrolled())(Problem(NodeEdge(scores.requires_grad_()), **options)).matching
    plain = solver(Problem(NodeEdge(scores.detach()), **options)).matching
    assert recorded.requires_grad
    assert not plain.requires_grad
    assert torch.allclose(recorded, plain, atol=1e-12)


@pytest.mark.parametrize("scale", [1e3, 1e7, 1e12])
def test_no_score_is_too_large(scale):
    """A last digit of the scores is worth far more than the temperature: columns keep their sums all the same."""
    scores = (scale * normal(3, 6, 6)).float().requires_grad_()
    solution = differentiable(Sinkhorn(tau=1e-2, max_iter=30), Unrolled())(Problem(NodeEdge(scores)))
    solution.matching.square().sum().backward()
    assert ((solution.matching.sum(-2) - 1).abs() < 1e-4).all()
    assert torch.allclose(solution.residual, (solution.matching.sum(-1) - 1).abs().amax(-1))
    assert scores.grad.isfinite().all()


def test_a_gradient_settles_later_than_its_plan():
    """The identity needs one round, and its gradient more: with a tolerance it is that of one."""
    scores, weights = torch.eye(4, dtype=DOUBLE).requires_grad_(), normal(4, 4, seed=1)

    def gradient(estimator, **options):
        plan = differentiable(Sinkhorn(tau=0.5, **options), estimator)(Problem(NodeEdge(scores))).matching
        return torch.autograd.grad(plan, scores, weights)[0]

    limit = gradient(Implicit())
    assert torch.allclose(gradient(Unrolled(), tol=0.0), limit, atol=1e-12)
    early = gradient(Unrolled())
    assert torch.allclose(early, gradient(Unrolled(), max_iter=1), atol=1e-12)
    assert (early - limit).abs().max() > 1e-2


def test_before_convergence_it_is_not_the_implicit_gradient():
    scores, weights = normal(4, 4).requires_grad_(), normal(4, 4, seed=1)
    rough, exact = Sinkhorn(tau=0.3, max_iter=2, tol=0.0), Sinkhorn(tau=0.3, max_iter=2000, tol=1e-12)
    gaps = []
    for solver in (rough, exact):
        grads = [
            torch.autograd.grad(differentiable(solver, e)(Problem(NodeEdge(scores))).matching, scores, weights)[0]
            for e in (Implicit(), Unrolled())
        ]
        gaps.append((grads[0] - grads[1]).abs().max())
    assert gaps[0] > 1e-3
    assert gaps[1] < 1e-8
