"""`sinkhorn` on scores that are not written out: the plan and the gradients of the table."""

import pytest
import torch

from graphalign import Cosine, Factors, Gaussian, InnerProduct, NodeEdge, Problem, Sinkhorn
from graphalign.solvers import blocked_sinkhorn


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocked_sinkhorn, "AT_ONCE", 40)


def sides(n, m, width=3):
    generator = torch.Generator().manual_seed(n + m)
    return (torch.randn(size, width, generator=generator, dtype=torch.float64).requires_grad_() for size in (n, m))


CASES = (
    (9, 9, {}), (7, 11, {}), (11, 7, {}), (8, 8, {"unmatched": 0.2}), (6, 9, {"unmatched": -0.1}),
    (8, 8, {"mask1": torch.arange(8) < 6}), (8, 9, {"mask2": torch.arange(9) != 4, "unmatched": 0.1}),
)  # fmt: skip


@pytest.mark.parametrize("affinity", [Cosine(), InnerProduct(scaled=True), Gaussian(sigma=2.0)])
@pytest.mark.parametrize(("n", "m", "options"), CASES)
def test_plan_and_gradients_are_those_of_the_table(affinity, n, m, options):
    solver = Sinkhorn(tau=0.3, max_iter=5000, tol=1e-13)
    x, y = sides(n, m)
    terms = torch.linspace(-0.2, 0.2, m, dtype=torch.float64).requires_grad_()
    factors = Factors(x, y, affinity, column_terms=terms)
    weights = torch.randn(n, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    dense = solver(Problem(NodeEdge(factors.node), **options))
    expected = torch.autograd.grad((dense.matching * weights).sum(), (x, y, terms), retain_graph=True)
    blocked = solver(Problem(factors, **options))
    assert bool(blocked.converged)
    torch.testing.assert_close(blocked.matching, dense.matching, atol=1e-9, rtol=1e-9)
    found = torch.autograd.grad((blocked.matching * weights).sum(), (x, y, terms), retain_graph=True)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)

    # The same, and the gradient at the values, without writing the plan out.
    values = torch.randn(m, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    ways = (lambda v: dense.matching @ v), blocked.value.apply
    first, second = (torch.autograd.grad(way(values).sin().sum(), (x, y, values), retain_graph=True) for way in ways)
    torch.testing.assert_close(second, first, atol=1e-7, rtol=1e-6)


def test_a_warm_start_converges_at_once():
    x, y = sides(20, 20)
    solver = Sinkhorn(tau=0.2, max_iter=500, tol=1e-8)
    first = solver(Problem(Factors(x, y)))
    again = Sinkhorn(tau=0.2, max_iter=2, tol=1e-8)(Problem(Factors(x, y), init=first.state))
    assert bool(again.converged)
    torch.testing.assert_close(again.matching, first.matching, atol=1e-7, rtol=1e-7)


def test_single_precision_and_few_rounds_say_how_far_they_are():
    x, y = (side.detach().float() for side in sides(30, 30))
    rough = Sinkhorn(tau=0.01, max_iter=2)(Problem(Factors(x, y)))
    assert not bool(rough.converged)
    error = float((rough.matching.sum(1) - 1).abs().max())
    assert float(rough.residual) == pytest.approx(error, rel=1e-2)


@pytest.mark.parametrize("unmatched", [None, 0.1])
@pytest.mark.parametrize(("n", "m"), [(12, 12), (9, 14), (14, 9)])
@pytest.mark.parametrize("given", ["forbidden", "seeds", "both"])
def test_seeds_and_forbidden_pairs_are_those_of_the_table(n, m, unmatched, given, monkeypatch):
    monkeypatch.setattr(blocked_sinkhorn, "AT_ONCE", 3 * m)  # several blocks
    generator = torch.Generator().manual_seed(0)
    bad = torch.rand(n, m, generator=generator) < 0.3
    bad[0, 1], bad[3, 2] = False, False
    options = {"forbidden": bad, "seeds": [(0, 1), (3, 2), (-1, -1)]}
    options = options if given == "both" else {given: options[given]}
    solver = Sinkhorn(tau=0.3, max_iter=5000, tol=1e-13)
    x, y = sides(n, m)
    weights = torch.randn(n, m, generator=generator, dtype=torch.float64)
    factors = Factors(x, y)
    dense = solver(Problem(NodeEdge(factors.node), unmatched=unmatched, **options))
    expected = torch.autograd.grad((dense.matching * weights).sum(), (x, y), retain_graph=True)
    if given != "seeds":
        options["forbidden"] = bad.to_sparse()
    blocked = solver(Problem(factors, unmatched=unmatched, **options))
    assert bool(blocked.converged)
    torch.testing.assert_close(blocked.matching, dense.matching, atol=1e-9, rtol=1e-9)
    found = torch.autograd.grad((blocked.matching * weights).sum(), (x, y), retain_graph=True)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)
    values = torch.randn(m, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(blocked.value.apply(values), dense.matching @ values, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(blocked.value.detach().node, dense.matching, atol=1e-9, rtol=1e-9)


def test_a_node_without_an_allowed_partner_is_named():
    x, y = sides(4, 5)
    bad = torch.zeros(4, 5, dtype=torch.bool)
    bad[2] = True
    with pytest.raises(ValueError, match="row 2 finds no partner"):
        Sinkhorn()(Problem(Factors(x, y), forbidden=bad))
    assert float(Sinkhorn()(Problem(Factors(x, y), forbidden=bad, unmatched=0.0)).matching[2].detach().sum()) == 0.0
    with pytest.raises(ValueError, match="column 2 finds no partner"):
        Sinkhorn()(Problem(Factors(y, x), forbidden=bad.T))


def test_the_plan_is_never_written_out(monkeypatch):
    monkeypatch.setattr(Factors, "node", property(lambda self: pytest.fail("the table was written out")))
    x, y = sides(50, 40)
    plan = Sinkhorn(tau=0.2)(Problem(Factors(x, y))).value
    plan.apply(y).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert y.grad.abs().sum() > 0
