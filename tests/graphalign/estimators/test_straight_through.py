import pytest
import torch

from graphalign import Lap, NodeEdge, Problem, Sinkhorn, StraightThrough, Unrolled, differentiable


def _gradient(match, scores, weights):
    solution = match(Problem(NodeEdge(scores)))
    return solution.matching, torch.autograd.grad(solution.matching, scores, weights)[0]


@pytest.fixture
def scores():
    return torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


@pytest.fixture
def weights():
    return torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_value_is_hard_and_the_gradient_passes_unchanged(scores, weights):
    matching, grad = _gradient(differentiable(Lap(), StraightThrough()), scores, weights)
    assert torch.equal(matching, Lap()(Problem(NodeEdge(scores))).matching)
    assert torch.equal(grad, weights)


def test_a_surrogate_gives_its_own_gradient(scores, weights):
    surrogate = Sinkhorn(tau=0.5)
    matching, grad = _gradient(differentiable(Lap(), StraightThrough(surrogate=surrogate)), scores, weights)
    _, expected = _gradient(differentiable(surrogate, Unrolled()), scores, weights)
    assert torch.equal(matching, matching.round())
    assert torch.allclose(grad, expected)


def test_a_surrogate_needs_a_gradient_of_its_own():
    with pytest.raises(ValueError, match=r"surrogate of straight_through needs .* lap is not one: use .*sinkhorn"):
        StraightThrough(surrogate=Lap())
