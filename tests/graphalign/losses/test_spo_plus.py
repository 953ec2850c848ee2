"""SPO+ against its definition by enumeration, the paper's inequalities, and closed forms."""

import itertools

import pytest
import torch
from draws import normal

from graphalign import FAQ, BruteForce, FenchelYoung, Lap, NodeEdge, Normal, Problem, SPOPlus, objective

DOUBLE = torch.float64
RING = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


def _permutations(n):
    return torch.eye(n, dtype=DOUBLE)[torch.tensor(list(itertools.permutations(range(n))))]


def test_it_is_the_definition_for_every_pair_of_scores():
    """max <2t - c, y> - 2 <t, T> + <c, T> over all matchings y, with T the best of c."""
    scores, true = normal(20, 4, 4).requires_grad_(), normal(20, 4, 4, seed=1)
    every = _permutations(4)
    best = every[(true[:, None] * every).sum((-2, -1)).argmax(-1)]
    values = ((2 * scores - true)[:, None] * every).sum((-2, -1)).amax(-1)
    expected = values - 2 * (scores * best).sum((-2, -1)) + (true * best).sum((-2, -1))
    loss = SPOPlus()(Problem(NodeEdge(scores)), best, true_scores=NodeEdge(true))
    assert torch.allclose(loss, expected)
    gradients = [torch.autograd.grad(x.sum(), scores)[0] for x in (loss, expected)]
    assert torch.allclose(*gradients)
    moved = Lap()(Problem(NodeEdge(2 * scores.detach() - true))).matching
    assert torch.allclose(gradients[0], 2 * (moved - best))


@pytest.mark.parametrize("given", [True, False])
def test_the_gradient_is_the_slope_of_the_loss_at_every_score(given):
    """The loss is linear between kinks, so central differences are exact; nodes and edges."""
    scores = NodeEdge(normal(4, 4).requires_grad_(), normal(4, 4, seed=1).requires_grad_())
    problem, true = Problem(scores, RING, RING), NodeEdge(normal(4, 4, seed=2), normal(4, 4, seed=3))
    target = BruteForce()(problem.with_scores(true)).matching
    loss = lambda *parts: SPOPlus(BruteForce())(  # noqa: E731
        problem.with_scores(NodeEdge(*parts)), target, true_scores=true if given else None
    )
    assert torch.autograd.gradcheck(loss, scores.tensors())


def test_it_bounds_the_regret_and_vanishes_at_the_true_scores():
    scores, true = normal(200, 4, 4), normal(200, 4, 4, seed=1)
    best, chosen = (Lap()(Problem(NodeEdge(x))).matching for x in (true, scores))
    regret = (true * (best - chosen)).sum((-2, -1))
    loss = SPOPlus()(Problem(NodeEdge(scores)), best, true_scores=NodeEdge(true))
    assert (loss >= regret - 1e-12).all()
    assert (regret > 0).any()
    at_truth = SPOPlus()(Problem(NodeEdge(true)), best, true_scores=NodeEdge(true))
    assert torch.allclose(at_truth, torch.zeros(200, dtype=DOUBLE), atol=1e-12)


def test_two_by_two_is_a_hinge():
    """With d = s11 + s22 - s12 - s21, the identity as target and margin mu: 2 max(0, mu - d)."""
    scores, mu = normal(50, 2, 2), 0.7
    d = scores[:, 0, 0] + scores[:, 1, 1] - scores[:, 0, 1] - scores[:, 1, 0]
    loss = SPOPlus(margin=mu)(Problem(NodeEdge(scores)), torch.eye(2))
    assert torch.allclose(loss, 2 * (mu - d).clamp_min(0))
    assert 0 < (loss > 0).sum() < 50


def test_without_true_scores_it_is_twice_the_structured_hinge_with_half_the_margin():
    scores, target, mu = normal(30, 4, 4), torch.eye(4, dtype=DOUBLE)[[1, 0, 3, 2]], 0.8
    every = _permutations(4)
    missed = 4 - (target * every).sum((-2, -1))
    best = ((scores[:, None] * every).sum((-2, -1)) + mu / 2 * missed).amax(-1)
    expected = 2 * (best - (scores * target).sum((-2, -1)))
    assert torch.allclose(SPOPlus(margin=mu)(Problem(NodeEdge(scores)), target), expected)


def test_the_perceptron_loss_is_its_limit():
    """A margin of nearly nothing leaves twice the Fenchel-Young loss without noise."""
    problem, target = Problem(NodeEdge(normal(10, 4, 4))), torch.eye(4)
    perceptron = FenchelYoung(noise=Normal(scale=0.0), samples=1)(problem, target, generator=torch.Generator())
    assert torch.allclose(SPOPlus(margin=1e-9)(problem, target), 2 * perceptron)


def test_it_is_convex_along_a_line():
    first, last, true = normal(4, 4), normal(4, 4, seed=1), NodeEdge(normal(4, 4, seed=2))
    target = Lap()(Problem(true)).matching
    values = [
        SPOPlus()(Problem(NodeEdge(first + t * (last - first))), target, true_scores=true).item()
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert all(2 * values[i] <= values[i - 1] + values[i + 1] + 1e-9 for i in (1, 2, 3))


@pytest.mark.parametrize("unmatched", [None, 0.2])
def test_edges_padding_and_lonely_nodes_count_as_in_the_objective(unmatched):
    mask = torch.tensor([True, True, True, False])
    parts = [normal(4, 4, seed=seed) for seed in range(4)]
    for part in parts:
        part[3] = torch.nan
    scores, true = NodeEdge(*(x.requires_grad_() for x in parts[:2])), NodeEdge(*parts[2:])
    problem = Problem(scores, RING, RING, mask1=mask, mask2=mask, unmatched=unmatched)
    inside, truth = problem.masked(), problem.with_scores(true).masked()
    wanted = BruteForce()(truth).value
    moved = inside.with_scores(inside.scores.detach() * 2.0 - truth.scores)
    best = BruteForce()(moved).value
    loss = SPOPlus(BruteForce())(problem, wanted.node, true_scores=true)
    expected = objective(moved, best) - 2 * objective(inside, wanted) + objective(truth, wanted)
    assert loss.item() == pytest.approx(expected.item())
    regret = objective(truth, wanted) - objective(truth, BruteForce()(inside).value)
    assert loss.item() >= regret.item() >= 0
    for grad, x, y in zip(torch.autograd.grad(loss, scores.tensors()), best.tensors(), wanted.tensors(), strict=True):
        assert torch.allclose(grad, 2 * (x - y))


def test_descent_reaches_the_target():
    """Second order too: some steps against the gradient make the target the solution."""
    node, edge = normal(4, 4), normal(4, 4, seed=1)
    target = torch.eye(4, dtype=DOUBLE)[[2, 0, 3, 1]]
    for _ in range(30):
        scores = NodeEdge(node.requires_grad_(), edge.requires_grad_())
        loss = SPOPlus(FAQ())(Problem(scores, RING, RING), target)
        grads = torch.autograd.grad(loss, (node, edge))
        node, edge = (x.detach() - 0.2 * g for x, g in zip((node, edge), grads, strict=True))
    assert torch.equal(FAQ()(Problem(NodeEdge(node, edge), RING, RING)).matching, target)
    assert loss.item() == 0


def test_half_precision_scores_get_their_gradient_in_half_precision():
    scores = normal(2, 4, 4).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = SPOPlus()(Problem(NodeEdge(scores)), torch.eye(4))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert scores.grad.dtype == torch.bfloat16
    assert scores.grad.abs().sum() > 0


def test_true_scores_get_no_gradient():
    scores, true = torch.eye(2, requires_grad=True), torch.tensor([[0.0, 3.0], [1.0, 0.0]], requires_grad=True)
    loss = SPOPlus()(Problem(NodeEdge(scores)), torch.eye(2)[[1, 0]], true_scores=NodeEdge(true))
    loss.backward()
    assert true.grad is None


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="margin"):
        SPOPlus(margin=0)
    with pytest.raises(ValueError, match=r"need the shapes \[\(3, 3\)\] .* got \[\(3, 4\)\]"):
        SPOPlus()(Problem(NodeEdge(torch.eye(3))), torch.eye(3), true_scores=NodeEdge(torch.zeros(3, 4)))
