"""I-MLE and blackbox differentiation against closed forms."""

import pytest
import torch
from draws import generator, normal

from graphalign import IMLE, Blackbox, BruteForce, Greedy, Gumbel, Lap, NodeEdge, Problem, differentiable
from graphalign.estimators.interpolation import difference


def _scores(*shape, seed=0):
    return normal(*shape, seed=seed).requires_grad_()


def _gradient(match, scores, weights, seed=0, **options):
    matching = match(Problem(NodeEdge(scores), **options), generator=generator(seed)).matching
    (grad,) = torch.autograd.grad(matching, scores, weights.to(scores))
    return matching.detach(), grad


def test_one_row_with_gumbel_noise_is_a_softmax_and_so_is_its_gradient():
    """E y = softmax(t); E vjp = (softmax(t) - softmax(t - lam g)) / lam for the rule as published."""
    theta, g, lam = _scores(1, 4), torch.tensor([[0.7, -1.0, 0.2, 0.1]], dtype=torch.float64), 1.5
    match = differentiable(Greedy(), IMLE(lam=lam, noise=Gumbel(scale=1.0), samples=40_000, normalize=False))
    matching, grad = _gradient(match, theta, g)
    assert torch.allclose(matching, theta.detach().softmax(-1), atol=0.01)
    assert torch.allclose(grad, (theta.softmax(-1) - (theta - lam * g).softmax(-1)).detach() / lam, atol=0.01)


def test_normalised_lambda_is_relative_to_the_largest_entry_of_the_gradient():
    theta, g, lam = _scores(1, 4), torch.tensor([[0.7, -2.0, 0.2, 0.1]], dtype=torch.float64), 1.5
    match = differentiable(Greedy(), IMLE(lam=lam, noise=Gumbel(scale=1.0), samples=40_000))
    _, grad = _gradient(match, theta, g)
    expected = (theta.softmax(-1) - (theta - lam * g / 2.0).softmax(-1)).detach() * 2.0 / lam
    assert torch.allclose(grad, expected, atol=0.02)


def test_blackbox_on_two_by_two_is_a_step():
    """With d = s11 + s22 - s12 - s21 and the gradient's d_g, the matching flips exactly if d > 0 > d - lam d_g."""
    scores, g, lam = _scores(200, 2, 2), torch.eye(2, dtype=torch.float64), 1.0
    _, grad = _gradient(differentiable(Lap(), Blackbox(lam=lam, normalize=False)), scores, g.expand(200, 2, 2))
    d = (scores[:, 0, 0] + scores[:, 1, 1] - scores[:, 0, 1] - scores[:, 1, 0]).detach()
    flips = (d > 0) & (d < 2 * lam)
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert 0 < flips.sum() < 200
    assert torch.equal(grad, flips[:, None, None] * sign / lam)


def test_the_published_rule_to_the_letter():
    scores, g = _scores(3, 5, 5), _scores(3, 5, 5, seed=1).detach()
    solve = lambda s: Lap()(Problem(NodeEdge(s))).matching  # noqa: E731
    _, grad = _gradient(differentiable(Lap(), Blackbox(lam=5.0, normalize=False)), scores, g)
    assert torch.equal(grad, (solve(scores.detach()) - solve(scores.detach() - 5.0 * g)) / 5.0)


def test_without_noise_imle_is_blackbox():
    scores, g = _scores(3, 5, 5), _scores(3, 5, 5, seed=1).detach()
    _, imle = _gradient(differentiable(Lap(), IMLE(noise=Gumbel(scale=0.0), samples=3)), scores, g)
    _, blackbox = _gradient(differentiable(Lap(), Blackbox()), scores, g)
    assert torch.allclose(imle, blackbox)


def test_more_samples_change_the_variance_and_not_the_size():
    scores, g = _scores(200, 4, 4), _scores(200, 4, 4, seed=1).detach().sign()
    sizes = {}
    for samples in (1, 16):
        _, grad = _gradient(differentiable(Lap(), IMLE(samples=samples)), scores, g)
        sizes[samples] = (grad * g).sum((-2, -1)).mean().item()
    assert sizes[16] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_scales_far_beyond_half_precision_pass_through_in_float32(scale):
    scores = _scores(4, 5, 5).detach().float().requires_grad_()
    g = torch.eye(5).expand(4, 5, 5)
    match = differentiable(Lap(), IMLE())
    _, unit = _gradient(match, scores, -g)
    _, scaled = _gradient(match, scores, -g * scale)
    assert unit.abs().sum() > 0
    assert torch.allclose(scaled / scale, unit, rtol=1e-5)


def test_a_loss_scaler_gets_its_gradient_back():
    """fp16 scores under a loss scaled by 65536: the unscaled gradient is the plain one, up to fp16's rounding."""
    scores, g = _scores(5, 5).detach().half().requires_grad_(), torch.eye(5) / 30
    match = differentiable(Lap(), IMLE())
    _, plain = _gradient(match, scores, -g)
    _, scaled = _gradient(match, scores, -g * 1024)
    assert plain.abs().sum() > 0
    assert torch.allclose(scaled.float() / 1024, plain.float(), rtol=1e-2)


def test_lambda_weighs_node_and_edge_gradients_by_their_common_peak():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    node, edge = _scores(3, 3), _scores(3, 3, seed=1)
    problem = Problem(NodeEdge(node, edge), ring, ring)
    solution = differentiable(BruteForce(), Blackbox(lam=2.0))(problem)
    g = NodeEdge(_scores(3, 3, seed=2).detach(), 4 * _scores(3, 3, seed=3).detach())
    grads = torch.autograd.grad(solution.value.tensors(), (node, edge), g.tensors())
    peak = g.amax()
    moved = (problem.scores - g * (2.0 / peak)).detach()
    expected = (solution.value - BruteForce()(problem.with_scores(moved)).value) * (peak / 2.0)
    assert torch.allclose(grads[0], expected.node.detach())
    assert torch.allclose(grads[1], expected.edge.detach())


def test_noise_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="needs a generator"):
        differentiable(Lap(), IMLE())(Problem(NodeEdge(torch.eye(3))))


@pytest.mark.parametrize("options", [{"lam": 0}, {"lam": -1.0}, {"samples": 0}, {"samples": 1.5}, {"normalize": "no"}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        IMLE(**options)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.7, 3.3])
def test_every_ratio_of_small_whole_numbers_is_the_same_direction_at_any_scale(scale):
    """Up to the denominator that the docstring of `difference` names."""
    k, peak = torch.arange(-42.0, 43.0).expand(42, 1, 85), torch.arange(1.0, 43.0)[:, None, None]
    g = k.where(k.abs() <= peak, peak)
    directions = []

    def solve(moved):
        directions.append(moved.node)
        return moved

    zero = NodeEdge(torch.zeros_like(g))
    for c in (1.0, scale):
        difference(solve, zero, zero, NodeEdge(g * c), 1.0, normalize=True)
    assert torch.equal(*directions)
    assert not torch.equal(g / g.amax(-1, keepdim=True), (g * scale) / (g * scale).amax(-1, keepdim=True))
