import math

import pytest
import torch

from graphalign import Gumbel, NodeEdge, Normal


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
    for dtype in (torch.float32, torch.float64):
        drawn = _draw(Gumbel(), NodeEdge(torch.zeros(10, 10, dtype=dtype)), 2000).node
        assert drawn.dtype == dtype
        assert drawn.isfinite().all()


def test_scale_zero_switches_noise_off():
    for noise in (Gumbel(scale=0.0), Normal(scale=0.0)):
        assert (_draw(noise, NodeEdge(torch.zeros(3, 3)), 4).node == 0).all()
