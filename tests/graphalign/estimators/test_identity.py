import pytest
import torch
from draws import normal

from graphalign import BruteForce, Identity, Lap, NodeEdge, Problem, StraightThrough, differentiable

DOUBLE = torch.float64


def _gradient(estimator, scores, weights, **options):
    matching = differentiable(Lap(), estimator)(Problem(NodeEdge(scores), **options)).matching
    return matching, torch.autograd.grad(matching, scores, weights)[0]


def test_the_gradient_is_projected_on_what_the_solver_sees():
    """With c = t - mean and u = c / |c|: (I - 11'/N) (I - u u') g / |c|."""
    scores, g = normal(4, 4).requires_grad_(), normal(4, 4, seed=1)
    matching, grad = _gradient(Identity(), scores, g)
    centred = (scores - scores.mean()).detach().flatten()
    unit = centred / centred.norm()
    eye = torch.eye(16, dtype=DOUBLE)
    expected = (eye - 1 / 16) @ (eye - torch.outer(unit, unit)) @ g.flatten() / centred.norm()
    assert torch.equal(matching, Lap()(Problem(NodeEdge(scores))).matching)
    assert torch.allclose(grad.flatten(), expected)


def test_padding_has_no_part_in_the_projection():
    scores, g = normal(5, 5).requires_grad_(), normal(5, 5, seed=1)
    mask = torch.tensor([True, True, False, True, False])
    _, padded = _gradient(Identity(), scores, g, mask1=mask, mask2=mask)
    real = mask[:, None] & mask
    alone = scores[mask][:, mask].detach().requires_grad_()
    _, expected = _gradient(Identity(), alone, g[mask][:, mask])
    assert torch.allclose(padded[real], expected.flatten())
    assert (padded[~real] == 0).all()


@pytest.mark.parametrize(
    ("estimator", "options"), [(Identity(project=False), {}), (Identity(project=True), {"unmatched": 0.1})]
)
def test_without_an_invariance_it_is_straight_through(estimator, options):
    scores, g = normal(3, 4, 4).requires_grad_(), normal(3, 4, 4, seed=1)
    _, grad = _gradient(estimator, scores, g, **options)
    assert torch.equal(grad, _gradient(StraightThrough(), scores, g, **options)[1])


def test_edge_scores_share_the_norm_and_keep_their_mean():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    node, edge = normal(3, 3).requires_grad_(), normal(3, 3, seed=1).requires_grad_()
    solution = differentiable(BruteForce(), Identity())(Problem(NodeEdge(node, edge), ring, ring))
    g = NodeEdge(normal(3, 3, seed=2), normal(3, 3, seed=3))
    grad = NodeEdge(*torch.autograd.grad(solution.value.tensors(), (node, edge), g.tensors()))
    centred = NodeEdge(node - node.mean(), edge).detach()
    size = centred.dot(centred).sqrt()
    assert torch.allclose(grad.edge, (g.edge - centred.edge * g.dot(centred) / size**2) / size)
    assert grad.node.sum().abs() < 1e-12
    assert grad.dot(centred).abs() < 1e-12


def test_equal_scores_give_a_finite_gradient():
    scores = torch.ones(2, 3, 3, dtype=DOUBLE, requires_grad=True)
    _, grad = _gradient(Identity(), scores, normal(2, 3, 3))
    assert grad.isfinite().all()
    assert torch.allclose(grad.sum((-2, -1)), torch.zeros(2, dtype=DOUBLE))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="project must be True or False"):
        Identity(project="yes")
