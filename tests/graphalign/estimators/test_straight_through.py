import pytest
import torch
from draws import normal

from graphalign import (
    Identity,
    Lap,
    NodeEdge,
    Problem,
    Sinkhorn,
    Solution,
    StraightThrough,
    Unrolled,
    differentiable,
    hamming,
)


def _gradient(match, scores, weights):
    solution = match(Problem(NodeEdge(scores)))
    return solution.matching, torch.autograd.grad(solution.matching, scores, weights)[0]


@pytest.fixture
def scores():
    return normal(3, 4, 4).requires_grad_()


@pytest.fixture
def weights():
    return normal(3, 4, 4, seed=1)


def test_the_value_is_hard_and_the_gradient_passes_unchanged(scores, weights):
    matching, grad = _gradient(differentiable(Lap(), StraightThrough()), scores, weights)
    assert torch.equal(matching, Lap()(Problem(NodeEdge(scores))).matching)
    assert torch.equal(grad, weights)


def test_of_wrong_pairs_it_pushes_all_others_apart_which_identity_does_not():
    """The gradient of the Hamming distance is 1 / n at n (n - 1) pairs and -1 / n at n: two views at opposite poles,
    all cosines -1, have less of that linear loss than a perfect alignment, whatever the solver says."""
    n, target = 8, torch.eye(8, dtype=torch.float64)
    scores = normal(n, n)
    found = {}
    for estimator in (StraightThrough(), Identity()):
        theta = scores.clone().requires_grad_()
        hamming(differentiable(Lap(), estimator)(Problem(NodeEdge(theta))).matching, target).backward()
        found[estimator] = theta.grad
    torch.testing.assert_close(found[StraightThrough()], (1 - 2 * target) / n)
    torch.testing.assert_close(found[Identity()].sum(), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)
    poles, aligned = -torch.ones_like(target), target
    assert (found[StraightThrough()] * poles).sum() < (found[StraightThrough()] * aligned).sum()


def test_a_surrogate_gives_its_own_gradient(scores, weights):
    surrogate = Sinkhorn(tau=0.5, max_iter=2000, tol=1e-10)
    matching, grad = _gradient(differentiable(Lap(), StraightThrough(surrogate=surrogate)), scores, weights)
    _, expected = _gradient(differentiable(surrogate, Unrolled()), scores, weights)
    assert torch.equal(matching, matching.round())
    assert torch.allclose(grad, expected)


def test_a_surrogate_that_stops_after_one_round_has_the_gradient_of_its_plan():
    """X11 = sigmoid(d / (2 tau)); at these scores Sinkhorn's first round is its last, and its own slope another one."""
    scores = torch.eye(2, dtype=torch.float64, requires_grad=True)
    first = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    match = differentiable(Lap(), StraightThrough(surrogate=Sinkhorn(tau=0.5)))
    _, grad = _gradient(match, scores, first)
    at = torch.tensor(2.0, dtype=torch.float64)
    slope = torch.sigmoid(at) * torch.sigmoid(-at)
    assert torch.allclose(grad, slope * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64))


def test_a_surrogate_without_a_vjp_is_followed_by_autograd(scores, weights):
    def softmax(problem):
        return Solution(NodeEdge(problem.scores.node.softmax(-1)))

    _, grad = _gradient(differentiable(Lap(), StraightThrough(surrogate=softmax)), scores, weights)
    assert torch.allclose(grad, torch.autograd.grad(scores.softmax(-1), scores, weights)[0])


def test_a_surrogate_needs_a_gradient_of_its_own():
    with pytest.raises(ValueError, match=r"surrogate of straight_through needs .* lap is not one: use .*sinkhorn"):
        StraightThrough(surrogate=Lap())
