"""The implicit gradient of the Sinkhorn plan against closed forms, unrolling and finite differences."""

from dataclasses import replace

import pytest
import torch
from draws import normal

from graphalign import Implicit, Lap, NodeEdge, Problem, Sinkhorn, Unrolled, differentiable
from graphalign.solvers import sensitivity

DOUBLE = torch.float64
EXACT = Sinkhorn(tau=0.3, max_iter=5000, tol=1e-12)
CASES = [
    pytest.param(shape, masks, unmatched, id=f"{shape}-{'masked' if masks else 'whole'}-{unmatched}")
    for shape in [(4, 4), (3, 5), (5, 3)]
    for masks in (False, True)
    for unmatched in (None, 0.2)
]


def _masks(shape):
    n, m = shape
    return {"mask1": torch.arange(n) != 1, "mask2": torch.arange(m) < m - 1}


def _gradient(estimator, scores, weights, solver=EXACT, **options):
    matching = differentiable(solver, estimator)(Problem(NodeEdge(scores), **options)).matching
    return torch.autograd.grad(matching, scores, weights)[0]


@pytest.mark.parametrize(("shape", "masks", "unmatched"), CASES)
def test_at_convergence_it_is_the_unrolled_gradient(shape, masks, unmatched):
    scores, weights = normal(2, *shape).requires_grad_(), normal(2, *shape, seed=1)
    options = {"unmatched": unmatched, **(_masks(shape) if masks else {})}
    implicit, unrolled = (_gradient(e, scores, weights, **options) for e in (Implicit(), Unrolled()))
    assert unrolled.abs().max() > 1e-2
    assert torch.allclose(implicit, unrolled, atol=1e-7)


@pytest.mark.parametrize(("shape", "masks", "unmatched"), CASES)
def test_finite_differences_agree(shape, masks, unmatched):
    options = {"unmatched": unmatched, **(_masks(shape) if masks else {})}
    match = differentiable(EXACT, Implicit())
    plan = lambda s: match(Problem(NodeEdge(s), **options)).matching  # noqa: E731
    assert torch.autograd.gradcheck(plan, (normal(*shape).requires_grad_(),), atol=1e-6)


def test_two_by_two_is_the_slope_of_a_sigmoid():
    """X11 = sigmoid(d / (2 tau)) with d = s11 + s22 - s12 - s21."""
    s, solver = normal(20, 2, 2).requires_grad_(), Sinkhorn(tau=0.7, max_iter=2000, tol=1e-12)
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=DOUBLE).expand_as(s)
    d = (s[:, 0, 0] + s[:, 1, 1] - s[:, 0, 1] - s[:, 1, 0]).detach()
    slope = torch.sigmoid(d / 1.4) * torch.sigmoid(-d / 1.4) / 1.4
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=DOUBLE)
    assert torch.allclose(_gradient(Implicit(), s, weights, solver), sign * slope[:, None, None], atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("tau", [1e-3, 1e-2])
def test_a_plan_that_falls_apart_has_a_finite_gradient(dtype, tau):
    """Cold plans are permutations to the last bit: the system is singular block by block, and the gradient vanishes."""
    scores = (3 * torch.eye(6, dtype=dtype) + 0.1 * normal(4, 6, 6).to(dtype)).requires_grad_()
    grad = _gradient(Implicit(), scores, normal(4, 6, 6, seed=1).to(dtype), Sinkhorn(tau=tau))
    assert grad.abs().max() < 1e-6


def test_single_precision_is_near_double_on_a_hard_plan():
    scores, weights = normal(3, 40, 40).requires_grad_(), normal(3, 40, 40, seed=1)
    solver = Sinkhorn(tau=0.1, max_iter=2000, tol=1e-6)
    exact = _gradient(Implicit(), scores, weights, solver)
    single = _gradient(Implicit(), scores.detach().float().requires_grad_(), weights.float(), solver)
    assert (single - exact).norm() < 1e-3 * exact.norm()


def _system(plan, grad):
    """X * (G - alpha - beta) from the whole system of both sides, by least squares in float64."""
    x, g = plan.double(), grad.double()
    system = torch.cat([torch.cat([x.sum(1).diag(), x], 1), torch.cat([x.T, x.sum(0).diag()], 1)])
    rhs = torch.cat([(x * g).sum(1), (x * g).sum(0)])[:, None]
    alpha, beta = torch.linalg.lstsq(system, rhs, driver="gelsd").solution[:, 0].split([x.shape[0], x.shape[1]])
    return x * (g - alpha[:, None] - beta)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("shape", [(30, 30), (20, 33), (33, 20)])
@pytest.mark.parametrize("rounds", [2, 500])
@pytest.mark.parametrize("columns", [512, 1], ids=["factor", "steps"])
def test_the_system_is_solved_whatever_the_sums(dtype, shape, rounds, columns, monkeypatch):
    """Plans that did not converge have the gradient at their own sums."""
    monkeypatch.setattr(sensitivity, "LARGEST_FACTOR", columns)
    plan = Sinkhorn(tau=0.1, max_iter=rounds, tol=0.0)(Problem(NodeEdge(normal(*shape)))).matching.to(dtype)
    grad = normal(*shape, seed=1).to(dtype)
    expected = _system(plan, grad)
    assert (sensitivity.plan_vjp(plan, grad) - expected).norm() < 20 * torch.finfo(dtype).eps ** 0.9 * expected.norm()


@pytest.mark.parametrize("columns", [512, 1], ids=["factor", "steps"])
def test_blocks_are_as_if_alone(columns, monkeypatch):
    """A plan of two blocks, one of them a single pair: one null vector for each, and no number out of bounds."""
    monkeypatch.setattr(sensitivity, "LARGEST_FACTOR", columns)
    plan = Sinkhorn(tau=0.5)(Problem(NodeEdge(normal(4, 4)))).matching
    whole, grad = torch.block_diag(plan, torch.ones(1, 1, dtype=DOUBLE), plan.T), normal(9, 9, seed=1)
    found = sensitivity.plan_vjp(whole, grad)
    parts = [sensitivity.plan_vjp(p, grad[at, at]) for p, at in ((plan, slice(4)), (plan.T, slice(5, 9)))]
    assert torch.allclose(found, torch.block_diag(parts[0], torch.zeros(1, 1, dtype=DOUBLE), parts[1]), atol=1e-12)


@pytest.mark.parametrize("tau", [0.01, 0.03, 0.1])
def test_single_precision_is_as_good_as_double_where_most_cancels(tau):
    """A nearly clear matching: the gradient is a small difference of large numbers."""
    scores = torch.eye(32, dtype=DOUBLE) + 0.3 * normal(32, 32)
    plan = Sinkhorn(tau=tau, max_iter=50)(Problem(NodeEdge(scores))).matching.float()
    grad = normal(32, 32, seed=1).float()
    single, double = sensitivity.plan_vjp(plan, grad), sensitivity.plan_vjp(plan.double(), grad.double())
    assert (single - double).norm() < 1e-5 * double.norm()


def test_weak_links_do_not_blow_up():
    """Columns that hold together by less than rounding: alpha and beta would be of the order of 1e60."""
    plan, grad = Sinkhorn(tau=1e-3)(Problem(NodeEdge(normal(4, 100, 100)))).matching, normal(4, 100, 100, seed=1)
    for dtype in (torch.float32, DOUBLE):
        assert sensitivity.plan_vjp(plan.to(dtype), grad.to(dtype)).abs().max() < 1


def test_large_graphs_fall_back_to_the_factor(monkeypatch):
    """A cold plan on which conjugate gradients do not settle, next to a warm one on which they do."""
    monkeypatch.setattr(sensitivity, "LARGEST_FACTOR", 1)
    monkeypatch.setattr(sensitivity, "MOST_STEPS", 20)
    scores = torch.stack([0.1 * normal(30, 30), 3 * normal(30, 30, seed=2)])
    plan = Sinkhorn(tau=0.1, max_iter=200)(Problem(NodeEdge(scores))).matching
    grad = normal(2, 30, 30, seed=1)
    # Both passes settle, also the second, whose right-hand side is noise.
    settled = sensitivity._respond(plan, grad, sensitivity._by_steps)[1]
    assert settled.tolist() == [True, False]
    expected = torch.stack([_system(p, g) for p, g in zip(plan, grad, strict=True)])
    assert torch.allclose(sensitivity.plan_vjp(plan, grad), expected, atol=1e-7)


@pytest.mark.parametrize("columns", [512, 1], ids=["factor", "steps"])
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10])
def test_the_size_of_the_gradient_is_kept(scale, columns, monkeypatch):
    monkeypatch.setattr(sensitivity, "LARGEST_FACTOR", columns)
    plan = Sinkhorn(tau=0.2)(Problem(NodeEdge(normal(20, 20).float()))).matching
    grad = normal(20, 20, seed=1).float()
    unit = sensitivity.plan_vjp(plan, grad)
    assert torch.allclose(sensitivity.plan_vjp(plan, scale * grad) / scale, unit, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"unmatched": 0.1}, {"mask1": torch.arange(6) < 4}], ids=str)
@pytest.mark.parametrize("scale", [1e3, 1e7, 1e30])
def test_no_score_is_too_large(scale, options):
    scores = (scale * normal(3, 6, 6)).float().requires_grad_()
    grad = _gradient(Implicit(), scores, normal(3, 6, 6, seed=1).float(), Sinkhorn(tau=0.1, max_iter=30), **options)
    assert grad.isfinite().all()


def test_potentials_that_lost_their_digits_give_no_infinite_slack():
    problem = Problem(NodeEdge(normal(3, 4, 5)), unmatched=0.1)
    solution = Sinkhorn()(problem)
    f, g = solution.state
    grad = Sinkhorn().vjp(problem, replace(solution, state=(f + 1000, g)), NodeEdge(normal(3, 4, 5, seed=1)))
    assert grad.node.isfinite().all()


def test_a_graph_without_real_nodes_gets_no_gradient():
    scores, mask = normal(2, 3, 3).requires_grad_(), torch.tensor([[False] * 3, [True] * 3])
    grad = _gradient(Implicit(), scores, normal(2, 3, 3, seed=1), mask1=mask, mask2=mask)
    assert (grad[0] == 0).all()
    assert grad[1].abs().sum() > 0


def test_solvers_without_a_vjp_are_refused():
    with pytest.raises(ValueError, match=r"implicit needs .* lap has none: use sinkhorn, or keep lap with another"):
        differentiable(Lap(), Implicit())


def test_a_solver_of_your_own_brings_its_vjp():
    class Softmax:
        def __call__(self, problem):
            return self.solution(problem.scores.node.softmax(-1))

        def vjp(self, problem, solution, grad):
            y = solution.matching
            return NodeEdge(y * (grad.node - (y * grad.node).sum(-1, keepdim=True)))

        @staticmethod
        def solution(value):
            from graphalign import Solution

            return Solution(NodeEdge(value))

    scores, weights = normal(3, 4, 4).requires_grad_(), normal(3, 4, 4, seed=1)
    (expected,) = torch.autograd.grad(scores.softmax(-1), scores, weights)
    assert torch.allclose(_gradient(Implicit(), scores, weights, Softmax()), expected)
