"""What autograd can ask of a matching besides a gradient is refused in one sentence, or works."""

import pytest
import torch
from torch.autograd import forward_ad

from graphalign import Blackbox, Lap, NodeEdge, Problem, Sinkhorn, Unrolled, differentiable

SCORES = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
WEIGHTS = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)


def _loss(scores, match=None):
    match = match or differentiable(Lap(), Blackbox(lam=4.0))
    return (match(Problem(NodeEdge(scores))).matching * WEIGHTS).sum()


@pytest.mark.parametrize(
    "transformed",
    [
        lambda: torch.func.grad(_loss)(SCORES),
        lambda: torch.func.vmap(_loss)(SCORES[None]),
        lambda: torch.func.jacrev(_loss)(SCORES),
        lambda: torch.func.jvp(_loss, (SCORES,), (SCORES,)),
        lambda: torch.func.hessian(_loss)(SCORES),
    ],
)
def test_transforms_are_refused(transformed):
    with pytest.raises(RuntimeError, match=r"cannot be called inside of torch\.func"):
        transformed()


def test_forward_mode_is_refused():
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="no derivative in forward mode"):
        _loss(forward_ad.make_dual(SCORES, SCORES))


def test_second_derivatives_are_refused_and_not_zero():
    scores = SCORES.clone().requires_grad_()
    for loss in (_loss(scores), _loss(scores) ** 2):
        (grad,) = torch.autograd.grad(loss, scores, create_graph=True)
        with pytest.raises(RuntimeError, match="a matching has no second derivatives"):
            grad.sum().backward()
    with pytest.raises(RuntimeError, match="a matching has no second derivatives"):
        torch.autograd.functional.hessian(_loss, SCORES)


def test_a_graph_of_the_gradient_is_fine_where_nobody_differentiates_it():
    scores = SCORES.clone().requires_grad_()
    (plain,) = torch.autograd.grad(_loss(scores), scores)
    (recorded,) = torch.autograd.grad(_loss(scores), scores, create_graph=True)
    assert torch.equal(plain, recorded)
    other = SCORES.clone().requires_grad_()
    (grad,) = torch.autograd.grad((other**3).sum() + _loss(scores), other, create_graph=True)
    grad.sum().backward()
    assert torch.allclose(other.grad, 6 * SCORES)


def test_rounds_that_autograd_records_have_second_derivatives():
    match = differentiable(Sinkhorn(tau=1.0, max_iter=50, tol=0.0), Unrolled())
    scores = SCORES.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: _loss(x, match), scores)
