"""Sinkhorn against closed forms, POT, plain rounds of the textbook, and its own slower route."""

import pytest
import torch
from draws import normal

from graphalign import Implicit, Lap, NodeEdge, Problem, Sinkhorn, Unrolled, differentiable, marginal_error, objective
from graphalign.solvers import scaling
from graphalign.solvers.potentials import log_plan

LONG = {"max_iter": 2000, "tol": 1e-9}


def test_two_by_two_is_a_sigmoid():
    """A plan [[x, 1-x], [1-x, x]] scores x d + const with d = s11 + s22 - s12 - s21 and has twice the entropy of x.

    So d + 2 tau log((1-x) / x) = 0 at the optimum, which is x = sigmoid(d / (2 tau)).
    """
    s = normal(50, 2, 2)
    d = s[:, 0, 0] + s[:, 1, 1] - s[:, 0, 1] - s[:, 1, 0]
    x = Sinkhorn(tau=0.7, **LONG)(Problem(NodeEdge(s))).matching
    assert torch.allclose(x[:, 0, 0], torch.sigmoid(d / 1.4), atol=1e-8)


def test_one_pair_that_may_stay_alone_is_a_sigmoid():
    """With slack the plan is [[x, 1-x], [1-x, x]]: masses are one on both sides, and slack with slack scores nothing.

    The scores are [[s, u], [u, 0]], so that by the formula above d = s - 2u and x = sigmoid((s - 2u) / (2 tau)).
    """
    s = normal(20, 1, 1)
    x = Sinkhorn(tau=0.5, **LONG)(Problem(NodeEdge(s), unmatched=0.2)).matching
    assert torch.allclose(x, torch.sigmoid((s - 0.4) / 1.0), atol=1e-8)


def test_one_row_is_sigmoids_with_a_common_shift():
    """Column a shares its unit mass between the row and the slack: x_a / (1 - x_a) = exp(s_a / tau + f - f_slack).

    So x_a = sigmoid(s_a / tau + c), with the one c that makes the row sum to one.
    """
    s = normal(10, 1, 6)
    x = Sinkhorn(tau=0.3, **LONG)(Problem(NodeEdge(s))).matching
    shift = x.logit() - s / 0.3
    assert torch.allclose(shift, shift[..., :1].expand_as(shift), atol=1e-6)
    assert torch.allclose(x.sum(-1), torch.ones(10, 1, dtype=torch.float64), atol=1e-6)


def test_a_cold_plan_is_the_exact_matching():
    problem = Problem(NodeEdge(normal(10, 6, 8)), unmatched=0.1)
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

    assert torch.autograd.gradcheck(plan, (normal(*shape).requires_grad_(),), atol=1e-6)


def test_convergence_is_reported_as_it_is():
    scores = torch.stack([torch.eye(6, dtype=torch.float64), 3 * normal(6, 6)])
    solution = Sinkhorn(tau=0.05, max_iter=20, tol=1e-4)(Problem(NodeEdge(scores)))
    assert solution.converged.tolist() == [True, False]
    assert torch.allclose(solution.residual, (solution.matching.sum(-1) - 1).abs().amax(-1))
    assert solution.residual[1] > 1e-3


def test_an_item_stops_on_its_own():
    """An item that converged early is not moved by a slow neighbour."""
    scores = torch.stack([0.1 * normal(5, 5), 3 * normal(5, 5, seed=1)])
    together = Sinkhorn()(Problem(NodeEdge(scores))).matching[0]
    assert torch.equal(together, Sinkhorn()(Problem(NodeEdge(scores[0]))).matching)


def test_a_warm_start_goes_on_where_the_last_stopped():
    problem = Problem(NodeEdge(normal(4, 6, 6)))
    short = Sinkhorn(tau=0.2, max_iter=10, tol=0.0)
    first = short(problem)
    second = short(Problem(problem.scores, init=first.state))
    long = Sinkhorn(tau=0.2, max_iter=20, tol=0.0)(problem)
    assert torch.allclose(second.matching, long.matching)
    with pytest.raises(ValueError, match="warm start"):
        short(Problem(NodeEdge(normal(4, 5, 5)), init=first.state))


def test_small_temperatures_neither_overflow_nor_underflow():
    scores = (100 * torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))).requires_grad_()
    solution = Sinkhorn(tau=0.01, max_iter=50)(Problem(NodeEdge(scores)))
    solution.matching.square().sum().backward()
    assert solution.matching.isfinite().all()
    assert scores.grad.isfinite().all()
    assert (solution.matching.sum(-2) - 1).abs().max() < 1e-3


def test_a_graph_without_real_nodes_gives_nothing_and_no_nan():
    scores = (0.3 * normal(2, 3, 3)).requires_grad_()
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


# --- against others ---------------------------------------------------------------------------------------------------


def _with_slack(scores, unmatched):
    """The augmented problem written out: scores, masses of rows, masses of columns."""
    n, m = scores.shape
    full = torch.full((n + 1, m + 1), unmatched or 0.0, dtype=scores.dtype)
    full[:n, :m] = scores
    full[n, m] = 0.0
    spare = (max(m - n, 0), max(n - m, 0)) if unmatched is None else (m, n)
    a, b = torch.ones(n + 1, dtype=scores.dtype), torch.ones(m + 1, dtype=scores.dtype)
    a[n], b[m] = spare
    return full, a, b


@pytest.mark.parametrize(("shape", "unmatched"), [((5, 5), None), ((3, 6), None), ((6, 3), None), ((4, 5), 0.3)])
@pytest.mark.parametrize("method", ["sinkhorn", "sinkhorn_log"])
def test_pot_finds_the_same_plan(shape, unmatched, method):
    ot = pytest.importorskip("ot")
    scores = normal(*shape)
    full, a, b = _with_slack(scores, unmatched)
    rows, cols = a > 0, b > 0  # POT knows no mass of zero
    cost = -full[rows][:, cols]
    expected = ot.sinkhorn(a[rows], b[cols], cost, reg=0.2, method=method, numItermax=20000, stopThr=1e-13, warn=False)
    found = Sinkhorn(tau=0.2, max_iter=20000, tol=1e-12)(Problem(NodeEdge(scores), unmatched=unmatched)).matching
    assert torch.allclose(found, expected[: shape[0], : shape[1]], atol=1e-9)


@pytest.mark.parametrize("rounds", range(1, 10))
def test_as_many_rounds_are_made_as_were_asked_for(rounds):
    s = normal(3, 20, 20)
    kernel, u, v = (s / 0.3).exp(), None, torch.ones(3, 20, dtype=s.dtype)
    for _ in range(rounds):
        u = 1 / torch.einsum("bij,bj->bi", kernel, v)
        v = 1 / torch.einsum("bij,bi->bj", kernel, u)
    found = Sinkhorn(tau=0.3, max_iter=rounds, tol=0.0)(Problem(NodeEdge(s)))
    assert torch.allclose(found.matching, u[:, :, None] * kernel * v[:, None, :], atol=1e-12)
    assert torch.allclose(found.residual, (found.matching.sum(-1) - 1).abs().amax(-1))


# --- the two routes ---------------------------------------------------------------------------------------------------


def _both(solver, scores, **options):
    """The plan on scalings and, as autograd looks on, in the log domain."""
    fast = solver(Problem(NodeEdge(scores), **options)).matching
    return fast, solver(Problem(NodeEdge(scores.clone().requires_grad_()), **options)).matching.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1e-3, 1e-2, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("size", [6, 25])
def test_scalings_and_potentials_agree_at_every_temperature(dtype, tau, size):
    """Rows far below others make the kernel fall out of range over and over where it is cold."""
    scores = normal(4, size, size) + 3 * normal(4, size, 1, seed=1)
    exact = _both(Sinkhorn(tau=tau, max_iter=101, tol=0.0), scores)[1]
    found = Sinkhorn(tau=tau, max_iter=101, tol=0.0)(Problem(NodeEdge(scores.to(dtype)))).matching
    # A score of 10 in single precision is known to 1e-6, and the plan to that over tau.
    assert torch.allclose(found.double(), exact, atol=1e-9 if dtype == torch.float64 else 1e-5 + 1e-6 / tau)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (24, 21)])
@pytest.mark.parametrize("unmatched", [None, -0.3, 0.2])
@pytest.mark.parametrize("padded", [False, True])
def test_scalings_and_potentials_agree_on_every_kind_of_problem(shape, unmatched, padded):
    n, m = shape
    masks = {"mask1": torch.rand(3, n, generator=torch.Generator().manual_seed(2)) > 0.3, "mask2": torch.arange(m) > 0}
    options = {"unmatched": unmatched, **(masks if padded else {})}
    fast, slow = _both(Sinkhorn(tau=0.05, max_iter=30, tol=0.0), normal(3, *shape), **options)
    assert torch.allclose(fast, slow, atol=1e-11)


def test_a_kernel_that_leaves_its_range_is_made_anew(monkeypatch):
    """As often as it takes: with a small range, after every few rounds, and nothing changes."""
    made, kernel = [], scaling._kernel
    monkeypatch.setattr(scaling, "_kernel", lambda *args: made.append(len(args[0])) or kernel(*args))
    problem = Problem(NodeEdge(normal(6, 8, 8)))
    wide = Sinkhorn(tau=0.02, max_iter=60, tol=0.0)(problem).matching
    assert made == [6]
    monkeypatch.setattr(scaling, "_limit", lambda dtype: 10.0)
    narrow = Sinkhorn(tau=0.02, max_iter=60, tol=0.0)(problem).matching
    assert len(made) > 5
    assert torch.allclose(narrow, wide, atol=1e-12)


def test_no_item_feels_its_neighbours():
    """Items that stop at different rounds, or leave the range, or need double precision, end as they do alone."""
    scores = torch.stack([c * normal(22, 22, seed=i) for i, c in enumerate([0.01, 0.1, 0.3, 1.0, 3.0, 30.0, 1e9])])
    for dtype in (torch.float32, torch.float64):
        together = Sinkhorn(max_iter=150)(Problem(NodeEdge(scores.to(dtype))))
        for item, alone in enumerate(Sinkhorn(max_iter=150)(Problem(NodeEdge(x.to(dtype)))) for x in scores):
            assert torch.allclose(together.matching[item], alone.matching, atol=1e-12)
            assert torch.allclose(together.residual[item], alone.residual, atol=1e-6)
    assert together.converged.tolist()[0] is True
    assert together.converged.tolist()[-1] is False


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-30, 1e3, 1e7, 1e12, 1e30])
@pytest.mark.parametrize("options", [{}, {"unmatched": 0.1}, {"mask1": torch.arange(6) < 4}], ids=str)
def test_no_score_is_too_large(scale, options):
    """Finite, feasible by columns, and the residual tells the truth about the rows."""
    problem = Problem(NodeEdge((scale * normal(3, 6, 6)).float()), **options)
    solution = Sinkhorn(tau=1e-2, max_iter=30)(problem)
    x = solution.matching
    assert x.isfinite().all()
    assert (x >= 0).all()
    assert (x.sum(-2) <= 1 + 1e-4).all()
    assert ((x.sum(-1) - 1).amax(-1) <= solution.residual + 1e-5).all()
    assert torch.equal(solution.converged, solution.residual <= 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", [{}, {"unmatched": 0.1}, {"mask1": torch.arange(6) < 4}], ids=str)
@pytest.mark.parametrize("recorded", [False, True])
def test_scores_that_overflow_at_their_temperature_are_refused(dtype, options, recorded):
    """What passes is a number."""
    largest = normal(3, 6, 6).to(dtype)
    largest *= torch.finfo(dtype).max / largest.abs().max()
    with pytest.raises(ValueError, match="scale the scores, or raise tau"):
        Sinkhorn(tau=0.1)(Problem(NodeEdge(largest.requires_grad_(recorded)), **options))
    scores = (largest.detach() / 1e3).requires_grad_(recorded)
    assert Sinkhorn(tau=1.0, max_iter=30)(Problem(NodeEdge(scores), **options)).matching.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"unmatched": 0.1}, {"mask1": torch.arange(3) < 2}], ids=str)
def test_a_batch_of_no_problems_is_solved(options):
    for batch in ((0,), (2, 0)):
        scores = torch.zeros(*batch, 3, 4, requires_grad=True)
        for estimator in (Implicit(), Unrolled()):
            matching = differentiable(Sinkhorn(), estimator)(Problem(NodeEdge(scores), **options)).matching
            assert matching.shape == scores.shape
            matching.sum().backward()


def test_single_precision_converges_to_its_last_digits():
    solution = Sinkhorn(tau=0.5, max_iter=500, tol=0.0)(Problem(NodeEdge(normal(4, 40, 40).float())))
    assert solution.converged.all()
    assert solution.residual.max() < 2e-6
    assert not Sinkhorn(tau=0.5, max_iter=3, tol=0.0)(Problem(NodeEdge(normal(4, 40, 40).float()))).converged.any()


def test_autocast_takes_no_digits():
    problem = Problem(NodeEdge(normal(2, 32, 32).float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Sinkhorn(max_iter=50)(problem).matching
    assert torch.equal(inside, Sinkhorn(max_iter=50)(problem).matching)


def test_a_warm_start_that_is_not_finite_counts_as_none():
    problem = Problem(NodeEdge(normal(2, 4, 4)))
    nothing = torch.full((2, 4), torch.nan, dtype=torch.float64)
    warm = Problem(problem.scores, init=(nothing, nothing))
    assert torch.equal(Sinkhorn()(warm).matching, Sinkhorn()(problem).matching)


def test_the_fallback_is_the_log_domain_in_double_precision():
    scores = (1e5 * normal(2, 5, 5)).float()
    z, ones = scores.double() / 0.01, torch.ones(2, 5, dtype=torch.float64)
    expected = log_plan((scores / 0.01).double(), ones, ones, torch.zeros_like(ones), 40, 0.0).value
    assert (z.abs() > scaling.LARGEST_SINGLE).any()
    found = Sinkhorn(tau=0.01, max_iter=40, tol=0.0)(Problem(NodeEdge(scores))).matching
    assert torch.equal(found, expected.float())
