import itertools
import math

import pytest
import torch

from graphalign import IMLE, Gumbel, NodeEdge, Normal, SumOfGamma


def _draw(noise, like, samples=20_000):
    return noise.sample(like, samples, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("noise", "mean", "deviation"),
    [(Gumbel(scale=0.5), 0.5 * 0.5772157, 0.5 * math.pi / math.sqrt(6)), (Normal(scale=0.3), 0.0, 0.3)],
)
def test_mean_and_deviation(noise, mean, deviation):
    drawn = _draw(noise, NodeEdge(torch.zeros(2, 3), torch.zeros(4, 4)))
    assert drawn.node.shape == (20_000, 2, 3)
    assert drawn.edge.shape == (20_000, 4, 4)
    for x in drawn.tensors():
        assert x.mean().item() == pytest.approx(mean, abs=0.01)
        assert x.std().item() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize("noise", [Gumbel(scale=0.5), Normal(scale=0.3)])
def test_the_score_is_minus_the_gradient_of_the_log_density(noise):
    z = torch.linspace(-0.5, 1.0, 7, dtype=torch.float64).requires_grad_()
    gumbel = isinstance(noise, Gumbel)
    log_density = -z / 0.5 - torch.exp(-z / 0.5) if gumbel else -(z**2) / (2 * 0.3**2)
    (expected,) = torch.autograd.grad(-log_density.sum(), z)
    assert torch.allclose(noise.score(NodeEdge(z[None].detach())).node[0], expected)


def test_noise_is_finite_and_of_the_dtype_of_the_scores():
    for noise, dtype in itertools.product((Gumbel(), SumOfGamma(k=50)), (torch.float32, torch.float64)):
        drawn = _draw(noise, NodeEdge(torch.zeros(10, 10, dtype=dtype)), 2000).node
        assert drawn.dtype == dtype
        assert drawn.isfinite().all()


def test_scale_zero_switches_noise_off():
    for noise in (Gumbel(scale=0.0), Normal(scale=0.0), SumOfGamma(scale=0.0)):
        assert (_draw(noise, NodeEdge(torch.zeros(3, 3)), 4).node == 0).all()


@pytest.mark.parametrize("noise", [SumOfGamma(k=1, scale=0.7, terms=1), SumOfGamma(k=5, scale=0.5, terms=10)])
def test_moments_of_one_entry_of_the_sum_of_gamma(noise):
    """Third central moment of Gamma(a, b): 2 a b^3."""
    drawn = _draw(noise, NodeEdge(torch.zeros(4, 4), torch.zeros(2, 3)))
    assert drawn.edge.shape == (20_000, 2, 3)
    x = torch.cat([part.flatten() for part in drawn.tensors()]).double()
    harmonic = [sum(i**-power for i in range(1, noise.terms + 1)) for power in (1, 2, 3)]
    mean = noise.scale / noise.k * (harmonic[0] - math.log(noise.terms))
    variance = noise.scale**2 / noise.k * harmonic[1]
    assert x.mean().item() == pytest.approx(mean, abs=0.005)
    assert x.var().item() == pytest.approx(variance, rel=0.02)
    assert (x - x.mean()).pow(3).mean().item() == pytest.approx(2 * noise.scale**3 / noise.k * harmonic[2], rel=0.1)


def test_k_entries_of_the_sum_of_gamma_add_up_to_a_gumbel_variable():
    """The distribution of the sum against exp(-exp(-z / scale)), at a few places."""
    noise = SumOfGamma(k=4, scale=0.5, terms=200)
    total = _draw(noise, NodeEdge(torch.zeros(1, 4))).node.sum((-2, -1))
    for z in (-0.5, 0.0, 0.5, 1.5):
        assert (total <= z).float().mean().item() == pytest.approx(math.exp(-math.exp(-z / 0.5)), abs=0.015)


def test_sum_of_gamma_needs_a_generator_and_k_a_whole_number():
    with pytest.raises(ValueError, match="needs a generator"):
        SumOfGamma().sample(NodeEdge(torch.zeros(2, 2)), 1, None)
    with pytest.raises(ValueError, match="k must be a whole number"):
        IMLE(noise=SumOfGamma(k=0))
