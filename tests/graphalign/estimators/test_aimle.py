import pytest
import torch
from draws import normal

from graphalign import AIMLE, IMLE, Gumbel, Lap, NodeEdge, Problem, differentiable

DOUBLE = torch.float64
QUIET = Gumbel(scale=0.0)


def _gradient(estimator, scores, weights):
    scores = scores.detach().requires_grad_()
    matching = differentiable(Lap(), estimator)(
        Problem(NodeEdge(scores)), generator=torch.Generator().manual_seed(0)
    ).matching
    return torch.autograd.grad(matching, scores, weights)[0]


def test_each_problem_takes_the_first_step_that_flips_its_matching():
    """On 2 x 2 with margin d = s11 + s22 - s12 - s21 > 0 and g = I, the matching flips exactly if d < 2 lam."""
    margins = torch.tensor([0.1, 0.3, 1.0, 3.0, 100.0], dtype=DOUBLE)
    scores = torch.eye(2, dtype=DOUBLE) * margins[:, None, None] / 2
    g = torch.eye(2, dtype=DOUBLE).expand_as(scores)
    grad = _gradient(AIMLE(lam=0.1, steps=5, noise=QUIET, samples=1), scores, g)
    steps = torch.tensor([0.1, 0.2, 0.8, 1.6, torch.inf], dtype=DOUBLE)
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=DOUBLE)
    assert torch.allclose(grad, sign / steps[:, None, None])


def test_with_one_step_it_is_imle():
    scores, g = normal(5, 4, 4), normal(5, 4, 4, seed=1)
    assert torch.equal(_gradient(AIMLE(lam=0.3, steps=1), scores, g), _gradient(IMLE(lam=0.3), scores, g))


def test_a_problem_gets_a_gradient_if_any_of_the_steps_gives_one():
    scores, g = 2 * normal(100, 4, 4), normal(100, 4, 4, seed=1).sign()

    def reached(estimator):
        return _gradient(estimator, scores, g).abs().sum((-2, -1)) > 0

    each = torch.stack([reached(IMLE(lam=0.1 * 2**doubling)) for doubling in range(7)])
    assert torch.equal(reached(AIMLE(lam=0.1, steps=7)), each.any(0))
    assert each[0].sum() < each.any(0).sum()


def test_an_easy_problem_is_not_moved_by_a_hard_neighbour():
    easy, hard = 0.1 * normal(1, 4, 4), 10 * torch.eye(4, dtype=DOUBLE)[None]
    g = normal(2, 4, 4, seed=1)
    estimator = AIMLE(noise=QUIET)
    together = _gradient(estimator, torch.cat([easy, hard]), g)
    assert torch.equal(together[:1], _gradient(estimator, easy, g[:1]))
    assert torch.equal(together[1:], _gradient(estimator, hard, g[1:]))


def test_more_changes_take_larger_steps():
    scores, g = normal(50, 5, 5), normal(50, 5, 5, seed=1).sign()
    few, many = (
        (_gradient(AIMLE(changes=changes, noise=QUIET, samples=1), scores, g) != 0).sum((-2, -1)).float()
        for changes in (1, 8)
    )
    assert many.mean() > few.mean() >= 4 * (few > 0).float().mean()


@pytest.mark.parametrize("options", [{"lam": 0}, {"changes": 0.0}, {"steps": 0}, {"samples": 0}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AIMLE(**options)
