"""The exact gradients against closed forms that they were not computed from, and estimators against them."""

import math

import pytest
import torch

from graphalign import (
    IMLE,
    BruteForce,
    Detached,
    Gumbel,
    Implicit,
    NodeEdge,
    Normal,
    Perturbed,
    Problem,
    StraightThrough,
    SumOfGamma,
)
from graphalign.bench.exact import Enumerate, all_matchings, exact_gradient, gradient_quality

DOUBLE = torch.float64
RING = torch.tensor([[0, 1, 2], [1, 2, 0]])
SIGN = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=DOUBLE)


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def _linear(n, m, seed=0):
    return Problem(NodeEdge(0.5 * _normal(n, m, seed=seed))), NodeEdge(_normal(n, m, seed=seed + 100))


def _quadratic():
    scores = NodeEdge(0.5 * _normal(3, 3), 0.5 * _normal(3, 3, seed=1))
    return Problem(scores, RING, RING), NodeEdge(_normal(3, 3, seed=2), _normal(3, 3, seed=3))


def test_one_row_under_gumbel_noise_has_the_gradient_of_a_softmax():
    problem, weights = _linear(1, 5)
    theta = problem.scores.node.clone().requires_grad_()
    (expected,) = torch.autograd.grad((theta / 0.7).softmax(-1), theta, weights.node)
    exact = exact_gradient(problem, weights, Gumbel(0.7))
    assert torch.allclose(exact.gradient, expected.flatten())
    assert exact.error == 0


def test_two_by_two_under_normal_noise_has_the_slope_of_a_normal_distribution_function():
    problem, weights = _linear(2, 2)
    theta = problem.scores.node.clone().requires_grad_()
    share = torch.special.ndtr((theta.flatten() @ SIGN) / (2 * 0.3))
    (slope,) = torch.autograd.grad(share, theta)
    expected = (weights.node.flatten() @ SIGN) * slope.flatten()
    exact = exact_gradient(problem, weights, Normal(0.3))
    assert torch.allclose(exact.gradient, expected)
    assert exact.error == 0


def test_two_by_two_under_gumbel_noise_is_one_dimensional():
    """d gets the noise (z11 - z12) + (z22 - z21), the sum of two logistic variables; with s = d / beta its density is
    e^s ((s - 2) e^s + s + 2) / (beta (e^s - 1)^3), the convolution of the logistic density with itself."""
    problem, weights = _linear(2, 2)
    beta, d = 0.4, (problem.scores.node.flatten() @ SIGN).item()
    s = d / beta
    density = math.exp(s) * ((s - 2) * math.exp(s) + s + 2) / (beta * (math.exp(s) - 1) ** 3)
    exact = exact_gradient(problem, weights, Gumbel(beta))
    expected = (weights.node.flatten() @ SIGN) * density * SIGN
    assert 0 < exact.error < 0.01
    assert (exact.gradient - expected).norm() < 4 * exact.error * expected.norm()


def test_one_row_of_three_under_normal_noise_by_quadrature():
    """P(a wins) = integral of phi(z) prod_b Phi(z + (t_a - t_b) / sigma) dz, differentiated by autograd."""
    problem, weights = _linear(1, 3)
    theta, sigma = problem.scores.node[0].clone().requires_grad_(), 0.5
    z = torch.linspace(-8, 8, 4001, dtype=DOUBLE)
    wins = [
        torch.trapezoid(
            torch.distributions.Normal(0.0, 1.0).log_prob(z).exp()
            * math.prod(torch.special.ndtr(z + (theta[a] - theta[b]) / sigma) for b in range(3) if b != a),
            z,
        )
        for a in range(3)
    ]
    (expected,) = torch.autograd.grad(torch.stack(wins) @ weights.node[0], theta)
    exact = exact_gradient(problem, weights, Normal(sigma))
    assert (exact.gradient - expected).norm() < 4 * exact.error * expected.norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("noise", [Gumbel(0.5), Normal(0.5)])
def test_edges_by_differences_of_the_expectation(noise):
    """Central differences over the same 200,000 draws: the jumps they count leave an error of some percent."""
    problem, weights = _quadratic()
    drawn = noise.sample(problem.scores, 200_000, torch.Generator().manual_seed(0))
    solve = Enumerate(all_matchings(problem))

    def expected_loss(entry, step):
        flat = torch.cat([drawn.node.flatten(1), drawn.edge.flatten(1)], 1)
        flat[:, entry] += step
        moved = NodeEdge(flat[:, :9].unflatten(1, (3, 3)), flat[:, 9:].unflatten(1, (3, 3)))
        return solve(problem.with_scores(moved.map(torch.add, problem.scores))).value.dot(weights).mean()

    found = torch.stack([(expected_loss(i, 0.1) - expected_loss(i, -0.1)) / 0.2 for i in range(0, 18, 3)])
    exact = exact_gradient(problem, weights, noise)
    assert exact.error < 0.02
    assert (exact.gradient[::3] - found).norm() < 0.06 * found.norm()


def test_a_constant_on_a_row_or_column_changes_nothing():
    problem, weights = _linear(4, 4)
    exact = exact_gradient(problem, weights, Gumbel(0.3))
    gradient = exact.gradient.reshape(4, 4)
    sums = torch.cat([gradient.sum(0), gradient.sum(1)])
    assert sums.norm() < 4 * exact.error * gradient.norm() < 0.06 * gradient.norm()


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (1, 3)])
def test_every_matching_is_there(shape):
    problem, _ = _linear(*shape)
    problem = Problem(NodeEdge(_normal(20, *shape)))
    solve = Enumerate(all_matchings(Problem(NodeEdge(problem.scores.node[0]))))
    assert torch.equal(solve(problem).matching, BruteForce()(problem).matching)


def test_enumeration_solves_the_second_order_problem():
    problem, _ = _quadratic()
    expected = BruteForce()(problem).value
    found = Enumerate(all_matchings(problem))(problem).value
    assert torch.equal(found.node, expected.node)
    assert torch.equal(found.edge, expected.edge)


@pytest.mark.parametrize("make", [lambda: _linear(3, 3), _quadratic])
def test_perturbed_is_unbiased_and_imle_with_a_small_step_nearly(make):
    problem, weights = make()
    draws = 2000
    unbiased = gradient_quality(Perturbed(noise=Normal(0.5)), problem, weights, draws, 0)
    assert unbiased.bias < 3 * unbiased.std / math.sqrt(draws) + 2 * unbiased.error
    small, large = (
        gradient_quality(IMLE(lam=lam, noise=Normal(0.5), samples=50), problem, weights, draws, 0) for lam in (0.2, 5.0)
    )
    assert small.bias < 0.15 < large.bias
    assert large.std < small.std
    assert unbiased.cosine > 0.2
    assert unbiased.ms > 0


def test_more_samples_leave_less_variance():
    problem, weights = _linear(3, 3)
    few, many = (gradient_quality(Perturbed(samples=samples), problem, weights, 300, 0) for samples in (4, 64))
    assert many.std == pytest.approx(few.std / 4, rel=0.3)
    assert many.cosine > few.cosine


def test_what_has_no_variance_has_none_and_what_is_zero_is_all_bias():
    problem, weights = _linear(3, 3)
    detached = gradient_quality(Detached(), problem, weights, 10, 0)
    assert (detached.bias, detached.std, detached.cosine) == (1.0, 0.0, 0.0)
    straight = gradient_quality(StraightThrough(), problem, weights, 10, 0)
    assert straight.std < 1e-12
    assert straight.cosine > 0


def test_relaxed_estimators_are_held_to_the_gradient_of_the_plan():
    problem, weights = _linear(3, 3)
    assert gradient_quality(Implicit(), problem, weights, 4, 0).bias < 1e-3


def test_the_same_seed_gives_the_same_figures():
    problem, weights = _linear(3, 3)
    first, again, other = (gradient_quality(IMLE(), problem, weights, 50, seed) for seed in (0, 0, 1))
    assert (first.bias, first.std, first.cosine) == (again.bias, again.std, again.cosine)
    assert first.bias != other.bias


def test_what_cannot_be_exact_is_refused():
    problem, weights = _linear(3, 3)
    with pytest.raises(ValueError, match="at most 120 matchings"):
        gradient_quality(IMLE(), *_linear(6, 6), 10, 0)
    with pytest.raises(ValueError, match=r"needs gumbel or normal noise .* SumOfGamma.* `reference`"):
        gradient_quality(IMLE(noise=SumOfGamma()), problem, weights, 10, 0)
    assert gradient_quality(IMLE(noise=SumOfGamma()), problem, weights, 10, 0, reference=Gumbel(0.5)).std > 0
    with pytest.raises(ValueError, match="exact gradient is zero"):
        gradient_quality(IMLE(), problem, NodeEdge(torch.ones(3, 3)), 10, 0)
