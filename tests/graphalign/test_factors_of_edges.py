"""Edge scores in factors: gradients, bounds and answers beside the table that they make."""

import pytest
import torch

from graphalign import FAQ, FGW, KNN, FenchelYoung, Gaussian, Lap, NodeEdge, Problem, build, differentiable, objective


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _parts(batch=3, n=5, m=6, e=12, f=14, rank=2):
    g = _generator()
    node, first, second = (
        torch.randn(batch, *shape, generator=g, dtype=torch.float64) for shape in ((n, m), (e, rank), (f, rank))
    )
    return node, first, second, torch.randint(n, (2, e), generator=g), torch.randint(m, (2, f), generator=g)


def _gradients(estimator, factored):
    node, first, second, *edges = _parts()
    leaves = [x.clone().requires_grad_() for x in (node, first, second)]
    part = {"factors": (leaves[1], leaves[2])} if factored else {"edge": leaves[1] @ leaves[2].mT}
    match = differentiable(build("solver", "brute_force"), build("estimator", estimator))
    solution = match(Problem(NodeEdge(leaves[0], **part), *edges), generator=_generator(1))
    (solution.matching * torch.randn(node.shape, generator=_generator(2), dtype=torch.float64)).sum().backward()
    return solution.matching, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize(
    "estimator", ["blackbox(lam=20.0)", "imle(lam=20.0, noise=gumbel(0.0), samples=2)", "identity"]
)
def test_gradients_are_those_of_the_table(estimator):
    (found, ours), (expected, theirs) = (_gradients(estimator, factored) for factored in (True, False))
    assert torch.equal(found, expected)
    for x, y in zip(ours, theirs, strict=True):
        assert y.abs().sum() > 0
        assert torch.allclose(x, y)


def test_the_edge_part_is_what_the_table_gives_the_factors():
    node, first, second, *edges = _parts()
    matching = Lap()(Problem(NodeEdge(node))).matching
    factored = Problem(NodeEdge(node, factors=(first, second)), *edges)
    pairs = Problem(NodeEdge(node, first @ second.mT), *edges).edge_matching(matching)
    for relaxed in (matching, matching.clone().requires_grad_()):
        u, v = factored.value(relaxed).factors
        assert torch.allclose(u, pairs @ second)
        assert torch.allclose(v, pairs.mT @ first)


@pytest.mark.parametrize("solver", ["faq", "brute_force"])
def test_losses_give_the_factors_the_gradient_of_the_table(solver):
    node, first, second, *edges = _parts()
    target = torch.eye(6, dtype=torch.float64)[:5]
    grads = []
    for factored in (True, False):
        leaves = [x.clone().requires_grad_() for x in (first, second)]
        part = {"factors": tuple(leaves)} if factored else {"edge": leaves[0] @ leaves[1].mT}
        value = NodeEdge(node, **part)
        problem = Problem(value, *edges)
        objective(problem, problem.value(target.expand(node.shape))).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for x, y in zip(*grads, strict=True):
        assert torch.allclose(x, y)


def test_factors_may_be_shared_by_a_batch():
    node, first, second, *edges = _parts()
    leaves = [x[0].clone().requires_grad_() for x in (first, second)]
    shared = Problem(NodeEdge(node, factors=tuple(leaves)), *edges)
    alone = Problem(NodeEdge(node, factors=(first[:1].expand(3, -1, -1), second[:1].expand(3, -1, -1))), *edges)
    assert torch.equal(FAQ()(shared).matching, FAQ()(alone).matching)
    match = differentiable(FAQ(), build("estimator", "blackbox(lam=20.0)"))
    match(shared).matching[:, 0, 0].sum().backward()
    assert all(leaf.grad.shape == leaf.shape for leaf in leaves)


def test_padded_edges_count_for_nothing():
    node, first, second, *edges = _parts()
    real = torch.arange(12) < 9
    garbage = first.masked_fill(~real[:, None], torch.nan)
    padded = Problem(NodeEdge(node, factors=(garbage, second)), *edges, edge_mask1=real)
    kept = Problem(NodeEdge(node, factors=(first[:, :9], second)), edges[0][:, :9], edges[1])
    found, expected = FAQ()(padded), FAQ()(kept)
    assert torch.equal(found.matching, expected.matching)
    assert torch.allclose(objective(padded, found.value), objective(kept, expected.value))


def test_perturbations_keep_to_the_node_scores_or_are_refused():
    node, first, second, *edges = _parts()
    problem = Problem(NodeEdge(node, factors=(first, second)), *edges)
    loss = FenchelYoung(solver=FAQ(), samples=2)(problem, torch.eye(6, dtype=torch.float64)[:5], generator=_generator())
    assert loss.isfinite().all()
    scores = problem.scores.map(lambda x: x.clone().requires_grad_())
    for name in ("imle(samples=3)", "aimle(samples=2)"):
        match = differentiable(FAQ(), build("estimator", name))
        match(problem.with_scores(scores), generator=_generator()).matching[:, 0, 1].sum().backward()
        assert scores.factors[0].grad.isfinite().all()
    match = differentiable(FAQ(), build("estimator", "perturbed"))
    with pytest.raises(ValueError, match="gives the factors of edge scores no gradient"):
        match(problem, generator=_generator())


def _keypoints(noise):
    g = _generator(3)
    x = torch.rand(8, 20, 2, generator=g)
    order = torch.randperm(20, generator=g)
    y = (x + noise * torch.randn(x.shape, generator=g))[:, order]
    first, second = KNN(k=4)(x), KNN(k=4)(y)
    problem = Problem(Gaussian(sigma=0.5)(first, second, order=2), first.edge_index, second.edge_index)
    return problem, order


@pytest.mark.parametrize("shift", [-5.0, 0.0, 5.0])
def test_fgw_finds_key_points_by_positive_affinities(shift):
    problem, order = _keypoints(0.005)
    moved = problem.with_scores(NodeEdge(problem.scores.node + shift, problem.scores.edge))
    solution = FGW()(moved)
    right = order[solution.matching.argmax(-1)] == torch.arange(20)
    assert right.float().mean() >= 0.95
    assert solution.converged.all()
