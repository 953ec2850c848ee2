import pytest
import torch
from draws import normal

from graphalign import (
    FAQ,
    BruteForce,
    FenchelYoung,
    Greedy,
    Gumbel,
    Lap,
    NodeEdge,
    Normal,
    Perturbed,
    Problem,
    differentiable,
    objective,
)

DOUBLE = torch.float64
QUIET = Normal(scale=0.0)
RING = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


def _gen():
    return torch.Generator().manual_seed(0)


def test_one_row_with_gumbel_noise_is_cross_entropy():
    """E max (t + z) = logsumexp t + a constant, so the loss is the cross-entropy less the noise at the target."""
    theta, target = normal(1, 4).requires_grad_(), torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=DOUBLE)
    loss = FenchelYoung(Greedy(), Gumbel(scale=1.0), samples=40_000)(Problem(NodeEdge(theta)), target, generator=_gen())
    (grad,) = torch.autograd.grad(loss, theta)
    assert loss.item() == pytest.approx((theta.logsumexp(-1) - theta[:, 2]).item(), abs=0.02)
    assert torch.allclose(grad, theta.softmax(-1) - target, atol=0.01)


def test_the_gradient_is_the_mean_matching_less_the_target():
    scores, target = normal(3, 5, 5).requires_grad_(), torch.eye(5, dtype=DOUBLE)
    noise = Normal(scale=0.5)
    loss = FenchelYoung(Lap(), noise, samples=8)(Problem(NodeEdge(scores)), target, generator=_gen())
    (grad,) = torch.autograd.grad(loss.sum(), scores)
    match = differentiable(Lap(), Perturbed(noise=noise, samples=8))
    assert torch.allclose(grad, match(Problem(NodeEdge(scores)), generator=_gen()).matching.detach() - target)


def test_the_gradient_is_the_slope_of_the_loss_at_every_score():
    """For given draws the loss is linear between kinks, so central differences are exact; nodes and edges, masked."""
    mask = torch.tensor([True, True, False, True])
    scores = NodeEdge(normal(4, 4).requires_grad_(), normal(4, 4, seed=1).requires_grad_())
    problem = Problem(scores, RING, RING, mask1=mask, mask2=mask)
    loss = lambda *parts: FenchelYoung(BruteForce(), samples=3)(  # noqa: E731
        problem.with_scores(NodeEdge(*parts)), torch.diag(mask.to(DOUBLE)), generator=_gen()
    )
    assert torch.autograd.gradcheck(loss, scores.tensors())


def test_it_is_never_negative_and_zero_where_the_target_is_optimal():
    problem = Problem(NodeEdge(normal(20, 4, 4)))
    best = Lap()(problem).matching
    assert (FenchelYoung()(problem, torch.eye(4), generator=_gen()) >= 0).all()
    assert (FenchelYoung(noise=QUIET)(problem, best, generator=_gen()) == 0).all()


def test_it_is_convex_along_a_line():
    first, last, target = normal(4, 4), normal(4, 4, seed=1), torch.eye(4)
    values = [
        FenchelYoung()(Problem(NodeEdge(first + t * (last - first))), target, generator=_gen()).item()
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert all(2 * values[i] <= values[i - 1] + values[i + 1] + 1e-9 for i in (1, 2, 3))


@pytest.mark.parametrize("unmatched", [None, 0.2])
def test_edges_padding_and_lonely_nodes_count_as_in_the_objective(unmatched):
    mask = torch.tensor([True, True, True, False])
    node, edge = normal(4, 4).requires_grad_(), normal(4, 4, seed=1).requires_grad_()
    problem = Problem(NodeEdge(node, edge), RING, RING, mask1=mask, mask2=mask, unmatched=unmatched)
    target = torch.diag(mask.to(DOUBLE))
    best = BruteForce()(problem).value
    loss = FenchelYoung(BruteForce(), QUIET, samples=1)(problem, target, generator=_gen())
    wanted = NodeEdge(target, problem.edge_matching(target))
    inside = problem.masked()
    assert loss.item() == pytest.approx((objective(inside, best) - objective(inside, wanted)).item())
    grads = torch.autograd.grad(loss, (node, edge))
    assert torch.allclose(grads[0], best.node - target)
    assert torch.allclose(grads[1], best.edge - wanted.edge)


def test_descent_reaches_the_target():
    """Second order too: some steps against the gradient make the target the solution."""
    node, edge = normal(4, 4), normal(4, 4, seed=1)
    target = torch.eye(4, dtype=DOUBLE)[[2, 0, 3, 1]]
    loss = FenchelYoung(FAQ())
    for _ in range(30):
        scores = NodeEdge(node.requires_grad_(), edge.requires_grad_())
        grads = torch.autograd.grad(loss(Problem(scores, RING, RING), target, generator=_gen()), (node, edge))
        node, edge = (x.detach() - 0.3 * g for x, g in zip((node, edge), grads, strict=True))
    assert torch.equal(FAQ()(Problem(NodeEdge(node, edge), RING, RING)).matching, target)


def test_half_precision_scores_get_their_gradient_in_half_precision():
    scores = normal(2, 4, 4).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = FenchelYoung()(Problem(NodeEdge(scores)), torch.eye(4), generator=_gen())
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert scores.grad.dtype == torch.bfloat16
    assert scores.grad.abs().sum() > 0


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="samples"):
        FenchelYoung(samples=0)
    with pytest.raises(ValueError, match="needs a generator"):
        FenchelYoung()(Problem(NodeEdge(torch.eye(3))), torch.eye(3))
