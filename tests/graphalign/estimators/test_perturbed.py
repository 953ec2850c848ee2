import pytest
import torch
from draws import normal

from graphalign import Greedy, Gumbel, Lap, NodeEdge, Normal, Perturbed, Problem, SumOfGamma, differentiable

DOUBLE = torch.float64


def _gradient(match, scores, weights):
    matching = match(Problem(NodeEdge(scores)), generator=torch.Generator().manual_seed(0)).matching
    return matching.detach(), torch.autograd.grad(matching, scores, weights)[0]


def test_two_by_two_with_normal_noise_is_a_normal_cdf():
    """d = s11 + s22 - s12 - s21 gets noise of deviation 2 sigma, so E X11 = Phi(d / (2 sigma))."""
    scores = torch.tensor([[0.3, -0.2], [0.1, 0.2]], dtype=DOUBLE, requires_grad=True)
    sigma, d = 0.5, torch.tensor(0.6, dtype=DOUBLE)
    match = differentiable(Lap(), Perturbed(noise=Normal(scale=sigma), samples=60_000))
    matching, grad = _gradient(match, scores, torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=DOUBLE))
    slope = torch.exp(torch.distributions.Normal(0.0, 2 * sigma).log_prob(d))
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=DOUBLE)
    assert matching[0, 0].item() == pytest.approx(torch.special.ndtr(d / (2 * sigma)).item(), abs=0.01)
    assert torch.allclose(grad, sign * slope, atol=0.02)


def test_two_samples_are_unbiased_already():
    """The mean over 40,000 problems that are all the same, within four standard errors of the closed form above."""
    copies, sigma, d = 40_000, 0.5, torch.tensor(0.6, dtype=DOUBLE)
    scores = torch.tensor([[0.3, -0.2], [0.1, 0.2]], dtype=DOUBLE).repeat(copies, 1, 1).requires_grad_()
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=DOUBLE).expand_as(scores)
    _, grad = _gradient(differentiable(Lap(), Perturbed(noise=Normal(scale=sigma), samples=2)), scores, weights)
    slope = torch.exp(torch.distributions.Normal(0.0, 2 * sigma).log_prob(d))
    first = grad[:, 0, 0]
    error = first.std() / copies**0.5
    assert (first.mean() - slope).abs() < 4 * error < 0.1 * slope


def test_a_constant_on_the_loss_of_every_matching_adds_no_variance():
    """All permutations of four nodes get four times the constant, which the mean over samples takes away again."""
    scores = normal(3, 4, 4, seed=2).requires_grad_()
    weights = normal(3, 4, 4, seed=3)
    match = differentiable(Lap(), Perturbed(samples=5))
    _, plain = _gradient(match, scores, weights)
    _, shifted = _gradient(match, scores, weights + 100)
    assert torch.allclose(plain, shifted, atol=1e-9)


def test_one_row_with_gumbel_noise_has_the_gradient_of_softmax():
    theta = torch.tensor([[0.5, -0.3, 0.1]], dtype=DOUBLE, requires_grad=True)
    weights = torch.tensor([[1.0, 0.2, -0.5]], dtype=DOUBLE)
    match = differentiable(Greedy(), Perturbed(noise=Gumbel(scale=1.0), samples=60_000))
    _, grad = _gradient(match, theta, weights)
    (expected,) = torch.autograd.grad(theta.softmax(-1), theta, weights)
    assert torch.allclose(grad, expected, atol=0.02)


@pytest.mark.parametrize("options", [{"samples": 1}, {"noise": Normal(scale=0.0)}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match="at least 2 samples"):
        Perturbed(**options)


def test_noise_without_a_density_in_closed_form_is_refused():
    with pytest.raises(ValueError, match=r"SumOfGamma.*no method `score`.* use gumbel or normal"):
        Perturbed(noise=SumOfGamma())
