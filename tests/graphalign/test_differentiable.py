import pytest
import torch

import graphalign as ga
from graphalign import (
    IMLE,
    Blackbox,
    BruteForce,
    Estimator,
    Gumbel,
    Hungarian,
    Lap,
    NodeEdge,
    Problem,
    Sinkhorn,
    Solution,
    Solver,
    StraightThrough,
    Unrolled,
    differentiable,
    refusal,
)


def _gen(seed=0):
    return torch.Generator().manual_seed(seed)


def _greedy_rows(problem):
    """A solver that is a plain function: every row takes its best column."""
    best = problem.scores.node.argmax(-1)
    return Solution(NodeEdge(torch.nn.functional.one_hot(best, problem.scores.node.shape[-1]).to(problem.scores.node)))


def test_a_plain_function_is_a_solver():
    scores = torch.randn(5, 4, 4, generator=_gen()).requires_grad_()
    assert isinstance(_greedy_rows, Solver)
    assert isinstance(IMLE(), Estimator)
    solution = differentiable(_greedy_rows, IMLE())(Problem(NodeEdge(scores)), generator=_gen())
    solution.matching[..., 0].sum().backward()
    assert scores.grad.abs().sum() > 0


def test_a_function_may_leave_the_edge_part_to_us():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    node, edge = (torch.randn(3, 3, generator=_gen(s)).requires_grad_() for s in (0, 1))

    def nodes_only(problem):
        return Solution(NodeEdge(BruteForce()(problem).matching))

    solution = differentiable(nodes_only, Blackbox(lam=5.0))(Problem(NodeEdge(node, edge), ring, ring))
    reference = differentiable(BruteForce(), Blackbox(lam=5.0))(Problem(NodeEdge(node, edge), ring, ring))
    assert torch.equal(solution.value.edge, reference.value.edge)
    grads = torch.autograd.grad(solution.matching[0, 0], (node, edge))
    expected = torch.autograd.grad(reference.matching[0, 0], (node, edge))
    assert all(torch.equal(x, y) for x, y in zip(grads, expected, strict=True))


def test_it_prints_as_its_arguments():
    match = differentiable(Hungarian(), IMLE(lam=80.0, noise=Gumbel(scale=0.05)))
    estimator = "IMLE(lam=80.0, noise=Gumbel(scale=0.05), samples=4, normalize=True)"
    assert repr(match) == f"differentiable(solver=Hungarian(), estimator={estimator})"
    assert hash(match) == hash(differentiable(Hungarian(), IMLE(lam=80.0, noise=Gumbel(scale=0.05))))


def test_samples_are_averaged_and_facts_summed_up():
    problem = Problem(NodeEdge(torch.randn(3, 4, 4, generator=_gen())))
    solution = differentiable(Sinkhorn(tau=0.05, max_iter=5), IMLE(samples=6))(problem, generator=_gen())
    assert solution.matching.shape == (3, 4, 4)
    assert solution.converged.shape == (3,)
    assert solution.residual.shape == (3,)
    assert not solution.converged.all()


@pytest.mark.parametrize(
    ("solver", "estimator", "message"),
    [
        (
            Hungarian(),
            Unrolled(),
            r"unrolled needs .* hungarian is not one: use pygm_sinkhorn or sinkhorn, or keep hungarian with another",
        ),
        (BruteForce(), StraightThrough(surrogate=Sinkhorn()), r"surrogate sinkhorn .* reads no edge scores"),
    ],
)
def test_pairs_that_cannot_work_are_refused_at_construction(solver, estimator, message):
    with pytest.raises(ValueError, match=message):
        differentiable(solver, estimator)
    assert refusal(solver, estimator) is not None


def test_too_many_nodes_are_refused_before_anything_runs():
    assert "at most 8 nodes, but these have 32" in refusal(BruteForce(), IMLE(), nodes=32)
    assert refusal(BruteForce(), IMLE(), nodes=8) is None
    assert refusal(Lap(), IMLE(), nodes=10_000) is None


def test_unrolled_sees_a_broken_chain():
    scores = torch.eye(3, requires_grad=True)
    with pytest.raises(ValueError, match="autograd cannot follow"):
        differentiable(lambda p: Lap()(p), Unrolled())(Problem(NodeEdge(scores)))


@pytest.mark.parametrize("estimator", ["blackbox", "imle", "aimle"])
@pytest.mark.parametrize("solver", ["lap", "hungarian", "greedy", "faq"])
def test_a_scaled_gradient_breaks_no_tie_another_way(solver, estimator):
    """Integer scores and gradients are full of ties, which one rounding of c * g would decide otherwise."""
    match = ga.differentiable(ga.build("solver", solver), ga.build("estimator", estimator))
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randint(-2, 3, (3, 5, 5), generator=generator).float().requires_grad_()
        weight = torch.randint(-3, 4, (3, 5, 5), generator=generator).float()
        out = match(ga.Problem(ga.NodeEdge(scores)), generator=torch.Generator().manual_seed(0)).matching
        plain, *scaled = (
            torch.autograd.grad((c * weight * out).sum(), scores, retain_graph=True)[0] / c
            for c in (1.0, 1e-6, 1e-3, 3.0, 7e4, 1e6)
        )
        for gradient in scaled:
            torch.testing.assert_close(gradient, plain, rtol=1e-4, atol=1e-6)
