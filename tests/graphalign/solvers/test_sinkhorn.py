import pytest
import torch

from graphalign import Lap, NodeEdge, Problem, Sinkhorn, marginal_error, objective

LONG = {"max_iter": 2000, "tol": 1e-9}


def _scores(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_by_two_is_a_sigmoid():
    """One degree of freedom x: the optimum of x d + tau * entropy has x = sigmoid(d / (2 tau))."""
    s = _scores(50, 2, 2)
    d = s[:, 0, 0] + s[:, 1, 1] - s[:, 0, 1] - s[:, 1, 0]
    x = Sinkhorn(tau=0.7, **LONG)(Problem(NodeEdge(s))).matching
    assert torch.allclose(x[:, 0, 0], torch.sigmoid(d / 1.4), atol=1e-8)


def test_one_pair_that_may_stay_alone_is_a_sigmoid():
    """Plan [[x, 1-x], [1-x, x]] with scores s and twice u: x = sigmoid((s - 2u) / (2 tau))."""
    s = _scores(20, 1, 1)
    x = Sinkhorn(tau=0.5, **LONG)(Problem(NodeEdge(s), unmatched=0.2)).matching
    assert torch.allclose(x, torch.sigmoid((s - 0.4) / 1.0), atol=1e-8)


def test_one_row_is_sigmoids_with_a_common_shift():
    """Column a shares its unit mass between the row and the slack: x_a = sigmoid(s_a / tau + c) with sum one."""
    s = _scores(10, 1, 6)
    x = Sinkhorn(tau=0.3, **LONG)(Problem(NodeEdge(s))).matching
    shift = x.logit() - s / 0.3
    assert torch.allclose(shift, shift[..., :1].expand_as(shift), atol=1e-6)
    assert torch.allclose(x.sum(-1), torch.ones(10, 1, dtype=torch.float64), atol=1e-6)


def test_a_cold_plan_is_the_exact_matching():
    problem = Problem(NodeEdge(_scores(10, 6, 8)), unmatched=0.1)
    soft = Sinkhorn(tau=0.01, max_iter=5000, tol=1e-6)(problem)
    exact = Lap()(problem)
    assert torch.allclose(objective(problem, soft.value), objective(problem, exact.value), atol=0.05)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("unmatched", [None, 0.2])
@pytest.mark.parametrize("padded", [False, True])
def test_unrolled_gradient_is_that_of_finite_differences(shape, unmatched, padded):
    mask = torch.tensor([True] + [True] * (shape[1] - 2) + [False]) if padded else None

    def plan(scores):
        solver = Sinkhorn(tau=0.8, max_iter=40, tol=0.0)
        return solver(Problem(NodeEdge(scores), mask2=mask, unmatched=unmatched)).matching

    assert torch.autograd.gradcheck(plan, (_scores(*shape).requires_grad_(),), atol=1e-6)


def test_convergence_is_reported_as_it_is():
    scores = torch.stack([torch.eye(6, dtype=torch.float64), 3 * _scores(6, 6)])
    solution = Sinkhorn(tau=0.05, max_iter=20, tol=1e-4)(Problem(NodeEdge(scores)))
    assert solution.converged.tolist() == [True, False]
    assert torch.allclose(solution.residual, (solution.matching.sum(-1) - 1).abs().amax(-1))
    assert solution.residual[1] > 1e-3


def test_an_item_stops_on_its_own():
    """An item that converged early is not moved by a slow neighbour."""
    scores = torch.stack([0.1 * _scores(5, 5), 3 * _scores(5, 5, seed=1)])
    together = Sinkhorn()(Problem(NodeEdge(scores))).matching[0]
    assert torch.equal(together, Sinkhorn()(Problem(NodeEdge(scores[0]))).matching)


def test_a_warm_start_goes_on_where_the_last_stopped():
    problem = Problem(NodeEdge(_scores(4, 6, 6)))
    short = Sinkhorn(tau=0.2, max_iter=10, tol=0.0)
    first = short(problem)
    second = short(Problem(problem.scores, init=first.state))
    long = Sinkhorn(tau=0.2, max_iter=20, tol=0.0)(problem)
    assert torch.allclose(second.matching, long.matching)
    with pytest.raises(ValueError, match="warm start"):
        short(Problem(NodeEdge(_scores(4, 5, 5)), init=first.state))


def test_small_temperatures_neither_overflow_nor_underflow():
    scores = (100 * torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))).requires_grad_()
    solution = Sinkhorn(tau=0.01, max_iter=50)(Problem(NodeEdge(scores)))
    solution.matching.square().sum().backward()
    assert solution.matching.isfinite().all()
    assert scores.grad.isfinite().all()
    assert (solution.matching.sum(-2) - 1).abs().max() < 1e-3


def test_a_graph_without_real_nodes_gives_nothing_and_no_nan():
    scores = (0.3 * _scores(2, 3, 3)).requires_grad_()
    mask = torch.tensor([[False] * 3, [True] * 3])
    solution = Sinkhorn()(Problem(NodeEdge(scores), mask1=mask, mask2=mask))
    solution.matching.sum().backward()
    assert (solution.matching[0] == 0).all()
    assert scores.grad.isfinite().all()
    assert marginal_error(solution.matching[1]) < 1e-3


@pytest.mark.parametrize(
    "options", [{"tau": 0.0}, {"tau": float("inf")}, {"max_iter": 0}, {"tol": -1.0}, {"tau": "low"}]
)
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Sinkhorn(**options)
