"""The solver `sparse`: near the exact optimum by its gap, with a bound that no matching exceeds."""

import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from graphalign import Cosine, Factors, Gaussian, InnerProduct, Lap, NodeEdge, Problem, Sparse, build, objective
from graphalign.solvers import market

KINDS = ("random", "clustered", "tied", "duplicates", "integers", "constant")


def features(kind, n, m, seed, dtype):
    """Features of two sides, some of them in groups that are alike or equal."""
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((n, 6)), random.standard_normal((m, 6))
    if kind == "clustered":
        centres = 3 * random.standard_normal((8, 6))
        x, y = centres[random.integers(0, 8, n)] + 0.1 * x, centres[random.integers(0, 8, m)] + 0.1 * y
    if kind == "duplicates":
        x, y = x[random.integers(0, max(n // 10, 1), n)], y[random.integers(0, max(m // 10, 1), m)]
    return torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype)


def table(kind, n, m, seed, dtype):
    random = np.random.default_rng(seed)
    if kind == "random":
        return torch.from_numpy(random.random((n, m))).to(dtype)
    if kind == "integers":
        return torch.from_numpy(random.integers(-50, 50, (n, m))).to(dtype)
    if kind == "constant":
        return torch.full((n, m), 0.3, dtype=dtype)
    x, y = features(kind, n, m, seed, dtype)
    scores = Factors(x, y).node
    return (3 * scores).round() if kind == "tied" else scores


def optimum(scores, unmatched):
    """The highest total of a float64 table, by scipy."""
    gains = scores if unmatched is None else np.maximum(scores - 2 * unmatched, 0)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return gains[rows, columns].sum() + (0 if unmatched is None else unmatched * sum(scores.shape))


def check(problem, solution, scores, gap):
    """A feasible matching, its total, a bound that is one, and the gap that was asked for."""
    matching = solution.matching.to_dense().double().numpy()
    assert set(np.unique(matching)) <= {0.0, 1.0}
    assert matching.sum(0).max() <= 1
    assert matching.sum(1).max() <= 1
    alone, best = problem.unmatched, optimum(scores, problem.unmatched)
    if alone is None:
        assert matching.sum() == min(scores.shape)
    total = (matching * scores).sum() + (0 if alone is None else alone * (sum(scores.shape) - 2 * matching.sum()))
    rounding = 1e-12 * max(abs(best), 1.0)  # of scipy's sum
    assert abs(float(solution.objective) - total) <= rounding
    assert float(solution.bound) >= best - rounding
    assert best - total <= float(solution.gap) * max(abs(total), abs(float(solution.bound))) + rounding
    assert float(solution.gap) <= max(gap, 1e-12)
    assert bool(solution.converged)


def cases(count, most):
    random = np.random.default_rng(count)
    for seed in range(count):
        kind = KINDS[seed % len(KINDS)]
        n, m = (int(most * random.random() ** 2) + 1 for _ in range(2))
        m = n if seed % 3 == 0 else m
        unmatched = (None, 0.2, -0.1)[seed % 7 % 3]
        yield kind, n, m, seed, unmatched, (torch.float32, torch.float64)[seed // 2 % 2], (1e-4, 0.0)[seed // 4 % 2]


def compare(kind, n, m, seed, unmatched, dtype, gap):
    scores = table(kind, n, m, seed, dtype)
    problem = Problem(NodeEdge(scores), unmatched=unmatched)
    check(problem, Sparse(gap=gap)(problem), scores.double().numpy(), gap)
    if kind in ("clustered", "duplicates"):
        x, y = features(kind, n, m, seed, dtype)
        problem = Problem(Factors(x, y), unmatched=unmatched)
        exact = Factors(x.double(), y.double()).node.numpy()
        check(problem, Sparse(gap=gap)(problem), exact, gap)


@pytest.mark.parametrize("case", list(cases(60, 250)), ids=str)
def test_gap_and_bound_hold_beside_the_exact_optimum(case):
    compare(*case)


@pytest.mark.parametrize("case", list(cases(30, 120)), ids=str)
def test_without_numba_the_same_holds(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "graphalign.solvers.bidding", None)
    market.load_engine.cache_clear()
    assert market.load_engine()[0].__module__ == "graphalign.solvers.bidding_plain"
    compare(*case)
    market.load_engine.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("case", list(cases(300, 2000)), ids=str)
def test_gap_and_bound_hold_up_to_two_thousand_rows(case):
    compare(*case)


@pytest.mark.parametrize("affinity", [Cosine(), InnerProduct(), InnerProduct(scaled=True), Gaussian(sigma=2.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_those_of_the_affinity(affinity, dtype):
    x, y = features("clustered", 60, 80, 0, dtype)
    rows, columns = (torch.linspace(-1, 1, size, dtype=dtype) for size in (60, 80))
    problem = Problem(Factors(x, y, affinity, row_terms=rows, column_terms=columns), unmatched=0.2)
    wide = Factors(x.double(), y.double(), affinity, row_terms=rows.double(), column_terms=columns.double())
    solution = Sparse(k=4, gap=1e-6)(problem)
    check(problem, solution, wide.node.numpy(), 1e-6)
    assert float(objective(problem, solution.value)) == pytest.approx(float(solution.objective), rel=1e-6)


def test_single_precision_loosens_the_bound_and_never_tightens_it():
    """At sizes where rounding in single precision is worth more than the gap between two matchings."""
    random = np.random.default_rng(0)
    for seed in range(20):
        x = torch.from_numpy(1000 + random.standard_normal((40, 5))).float()
        y = torch.from_numpy(1000 + random.standard_normal((40, 5))).float()
        for affinity in (Cosine(), InnerProduct(), Gaussian(sigma=0.5)):
            best = optimum(Factors(x.double(), y.double(), affinity).node.numpy(), None)
            solution = Sparse(k=2 + seed % 3, gap=0.0)(Problem(Factors(x, y, affinity)))
            assert float(solution.bound) >= best - 1e-13 * abs(best)
            assert float(solution.objective) == pytest.approx(best, rel=1e-12)


def listed(n, m, each, seed, *, feasible):
    """Random candidates of every row as a sparse tensor; one planted matching makes them feasible."""
    random = np.random.default_rng(seed)
    dense = np.full((n, m), np.nan)
    for row in range(n):
        dense[row, random.choice(m, each, replace=False)] = random.random(each).round(2)
    if feasible:
        columns = random.permutation(m)[:n]
        dense[np.arange(n), columns] = random.random(n)
    else:
        dense[:2], dense[:2, 0] = np.nan, 0.5
    rows, columns = np.nonzero(~np.isnan(dense))
    values = torch.from_numpy(dense[rows, columns])
    shifted = csr_array((dense[rows, columns] + 1, (rows, columns)), (n, m))
    return torch.sparse_coo_tensor(np.stack([rows, columns]), values, (n, m), check_invariants=True), shifted


@pytest.mark.parametrize("shape", [(30, 30), (30, 45), (45, 30), (400, 400)])
def test_candidates_are_matched_exactly_or_found_infeasible(shape):
    """Beside scipy, whose scores must not be zero; all are shifted by one."""
    n, m = min(shape), max(shape)
    seen = set()
    for seed in range(12):
        sparse, shifted = listed(n, m, (2, 3, 6)[seed % 3], seed, feasible=seed % 2 == 0)
        if shape[0] > shape[1]:
            sparse, shifted = sparse.mT, shifted.T.tocsr()
        try:
            rows, columns = min_weight_full_bipartite_matching(shifted, maximize=True)
        except ValueError:
            seen.add("infeasible")
            with pytest.raises(ValueError, match="infeasible"):
                Sparse()(Problem(NodeEdge(sparse)))
            continue
        seen.add("feasible")
        solution = Sparse()(Problem(NodeEdge(sparse)))
        best = shifted[rows, columns].sum() - len(rows)
        assert float(solution.objective) == pytest.approx(best, rel=1e-12)
        assert float(solution.bound) >= best - 1e-12
        assert len(solution.pairs()[0]) == n
    assert seen == {"feasible", "infeasible"}


def test_lapmod_finds_the_same_among_candidates():
    lap = pytest.importorskip("lap")
    sparse, shifted = listed(200, 200, 8, 5, feasible=True)
    cost, columns, _ = lap.lapmod(200, 3 - shifted.data, shifted.indptr, shifted.indices)
    solution = Sparse()(Problem(NodeEdge(sparse)))
    assert float(solution.objective) == pytest.approx(2 * 200 - cost, rel=1e-12)
    assert len(columns) == 200


def test_masks_seeds_forbidden_pairs_and_scores_alone_at_once():
    """Beside enumeration by scipy on the table where what is not allowed costs a lot."""
    random = np.random.default_rng(3)
    for trial in range(30):
        n, m = random.integers(4, 30, 2)
        scores = random.random((n, m))
        mask1, mask2 = random.random(n) < 0.8, random.random(m) < 0.8
        mask1[:2], mask2[:2] = True, True
        bad = random.random((n, m)) < 0.2
        bad[0, 1] = False
        u, v = 0.3 * random.random(n), 0.3 * random.random(m)
        options = {
            "mask1": torch.from_numpy(mask1), "mask2": torch.from_numpy(mask2), "forbidden": torch.from_numpy(bad),
            "seeds": [(0, 1)], "unmatched": (torch.from_numpy(u), torch.from_numpy(v)),
        }  # fmt: skip
        gains = np.where(bad, 0, np.maximum(scores - u[:, None] - v, 0))[np.ix_(mask1, mask2)].copy()
        gains[0] = gains[:, 1] = 0
        rows, columns = linear_sum_assignment(gains, maximize=True)
        best = gains[rows, columns].sum() + u[mask1].sum() - u[0] + v[mask2].sum() - v[1] + scores[0, 1]
        solution = Sparse(k=1 + trial % 4, gap=0.0)(Problem(NodeEdge(torch.from_numpy(scores)), **options))
        assert float(solution.objective) == pytest.approx(best, rel=1e-12)
        assert float(solution.bound) >= best - 1e-12
        matching = solution.matching.numpy()
        assert matching[0, 1] == 1
        assert not matching[bad].any()


def test_forbidden_pairs_of_factors_may_be_a_sparse_tensor():
    x, y = features("random", 50, 60, 0, torch.float32)
    best = Sparse(gap=0.0)(Problem(Factors(x, y))).pairs()
    half = torch.stack(best)[:, ::2], torch.ones(25, dtype=torch.bool)
    bad = torch.sparse_coo_tensor(*half, (50, 60), check_invariants=True)
    problem = Problem(Factors(x, y), forbidden=bad, seeds=[(0, 0)] if best[1][0] != 0 else [(0, 1)])
    solution = Sparse(k=3, gap=0.0)(problem)
    dense = Problem(NodeEdge(Factors(x.double(), y.double()).node), forbidden=bad.to_dense(), seeds=problem.seeds)
    assert float(solution.objective) == pytest.approx(float(Sparse(gap=0.0)(dense).objective), rel=1e-12)
    assert not (solution.matching.to_dense().bool() & bad.to_dense()).any()


def test_a_batch_holds_a_bound_for_each_problem():
    scores = torch.from_numpy(np.random.default_rng(0).random((3, 2, 20, 30)))
    solution = Sparse()(Problem(NodeEdge(scores)))
    assert torch.equal(solution.matching, Lap()(Problem(NodeEdge(scores))).matching)
    assert solution.bound.shape == solution.objective.shape == solution.gap.shape == solution.converged.shape == (3, 2)
    assert (solution.bound >= solution.objective - 1e-12).all()


def test_a_warm_start_needs_fewer_rounds_and_changes_nothing():
    x, y = features("clustered", 300, 300, 1, torch.float32)
    seen = []
    solver = Sparse(k=4, gap=1e-6, progress=lambda state: seen.append(state.what))
    first = solver(Problem(Factors(x, y)))
    rounds, seen[:] = seen.count("matched"), []
    again = solver(Problem(Factors(x, y), init=first.state))
    assert seen.count("matched") <= rounds
    assert float(again.objective) == pytest.approx(float(first.objective), rel=1e-6)
    other = Sparse(k=4, gap=1e-6)(Problem(Factors(x.flip(0), y), init=first.state))  # prices of another problem
    assert float(other.gap) <= 1e-6
    with pytest.raises(ValueError, match="warm start"):
        solver(Problem(Factors(x[:10], y), init=first.state))


def test_two_calls_give_one_answer():
    x, y = features("duplicates", 200, 200, 2, torch.float32)
    first, second = (Sparse(k=4)(Problem(Factors(x, y))) for _ in range(2))
    assert torch.equal(first.matching.to_dense(), second.matching.to_dense())
    assert float(first.bound) == float(second.bound)


def test_progress_always_has_a_matching_and_a_bound_and_may_end_the_search():
    x, y = features("clustered", 120, 90, 4, torch.float32)
    exact = Factors(x.double(), y.double()).node.numpy()
    best, states = optimum(exact, None), []
    Sparse(k=2, gap=0.0, progress=states.append)(Problem(Factors(x, y)))
    for state in states:
        assert len(np.unique(state.rows)) == len(np.unique(state.columns)) == 90
        assert exact[state.rows, state.columns].sum() == pytest.approx(state.objective, rel=1e-12)
        assert state.bound >= best - 1e-12
    assert [a.gap >= b.gap for a, b in pairwise(states)] == [True] * (len(states) - 1)

    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sparse(progress=stop)(Problem(Factors(x, y)))


def test_a_constant_changes_no_matching():
    x, y = features("clustered", 150, 150, 6, torch.float64)
    scores = Factors(x, y).node
    wanted = Sparse()(Problem(NodeEdge(scores)))
    for constant in (-1e3, 1.0, 1e4):
        moved = Sparse()(Problem(NodeEdge(scores + constant)))
        total = float((scores * moved.matching).sum())
        assert total == pytest.approx(float(wanted.objective), rel=1e-4)


def test_other_solvers_write_factors_out_and_refuse_what_lists_some_pairs():
    x, y = features("random", 30, 30, 0, torch.float64)
    factors = Factors(x.requires_grad_(), y)
    assert torch.equal(Lap()(Problem(factors)).matching, Sparse(gap=0.0)(Problem(factors)).matching.to_dense())
    factors.node.sum().backward()
    assert x.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="solver sparse"):
        Lap()(Problem(NodeEdge(torch.eye(3).to_sparse())))
    with pytest.raises(ValueError, match="not written out"):
        Lap()(Problem(Factors(torch.ones(70_000, 1), torch.ones(70_000, 1))))


def test_the_table_is_never_written_out(monkeypatch):
    monkeypatch.setattr(Factors, "node", property(lambda self: pytest.fail("the table was written out")))
    x, y = features("clustered", 90, 120, 0, torch.float32)
    problem = Problem(Factors(x, y), unmatched=0.2, seeds=[(0, 1)], mask1=torch.ones(90, dtype=torch.bool))
    solution = Sparse()(problem)
    assert float(objective(problem, solution.value)) == pytest.approx(float(solution.objective), rel=1e-6)
    assert Problem(Factors(torch.ones(10**6, 2), torch.ones(10**6, 2))).batch_shape == ()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_any_size_end_at_the_optimum(scale, dtype):
    random = np.random.default_rng(4)
    for shape in ((12, 12), (9, 20), (20, 9)):
        factors = scale ** random.uniform(-1, 1, (shape[0], 1)) if shape[0] < shape[1] else scale
        scores = torch.from_numpy(random.standard_normal(shape) * factors).to(dtype)
        exact = scores.double().numpy()
        best = exact[linear_sum_assignment(exact, maximize=True)].sum()
        solution = Sparse(k=2, gap=0.0)(Problem(NodeEdge(scores)))
        assert solution.converged
        assert float(solution.objective) == pytest.approx(best, rel=1e-12)
        assert float(solution.bound) >= best * (1 - 1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e-8, 1e-15, 1e-20, 1e-100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_of_any_size_have_a_bound_of_their_size(scale, dtype):
    if dtype == torch.float32 and scale < 1e-30:
        pytest.skip("below the smallest number of this dtype")
    x, y = (scale * z for z in features("clustered", 80, 90, 0, torch.float64))
    x, y = x.to(dtype), y.to(dtype)
    exact = x.double().numpy() / scale @ (y.double().numpy() / scale).T
    best = optimum(exact, None)
    for gap in (1e-4, 0.0):
        solution = Sparse(k=4, gap=gap)(Problem(Factors(x, y, InnerProduct())))
        assert float(solution.gap) <= max(gap, 1e-12)
        assert solution.converged
        assert float(solution.bound) / scale / scale >= best * (1 - 1e-13)
        assert float(solution.objective) / scale / scale >= best * (1 - gap - 1e-12)


def test_lengths_that_underflow_when_squared_still_bound_their_products():
    x, y = features("random", 30, 30, 0, torch.float64)
    solution = Sparse(gap=1e-6)(Problem(Factors(1e-170 * x, 1e170 * y, InnerProduct())))
    best = optimum((x @ y.T).numpy(), None)
    assert best * (1 - 1e-12) <= float(solution.bound) <= best * (1 + 1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_an_exact_optimum_has_converged(sigma, shift):
    x, y = (z + shift for z in features("random", 150, 150, 1, torch.float64))
    for affinity in (Cosine(), Gaussian(sigma=sigma), InnerProduct()):
        solution = Sparse(gap=0.0)(Problem(Factors(x, y, affinity)))
        best = optimum(Factors(x, y, affinity).node.numpy(), None)
        assert float(solution.objective) == pytest.approx(best, rel=1e-9)
        assert solution.converged


def test_sums_of_scores_and_prices_never_round_the_bound_down():
    random = np.random.default_rng(0)
    for _ in range(60):
        scores = torch.from_numpy(random.random((12, 12)))
        exact = [[Fraction(value) for value in row] for row in scores.tolist()]
        solution = Sparse(k=3, gap=0.0)(Problem(NodeEdge(scores)))
        rows, columns = linear_sum_assignment(scores.numpy(), maximize=True)
        assert Fraction(float(solution.bound)) >= sum(exact[i][j] for i, j in zip(rows, columns, strict=True))


def test_what_overflows_is_refused_and_does_not_hang():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for scores in (Factors(x * 1e160, x, Cosine()), Factors(x * 1e160, x * 1e160, InnerProduct()), NodeEdge(x * 1e307)):
        with pytest.raises(ValueError, match=r"overflow float64: scale them"):
            Sparse()(Problem(scores))
    # Terms that leave float32 are computed in float64.
    wide = (1e25 * x).float()
    solution = Sparse()(Problem(Factors(wide, wide.flip(0), InnerProduct())))
    products = wide.double().numpy() @ wide.flip(0).double().numpy().T * (4**-0.5 if InnerProduct().scaled else 1.0)
    best = products[linear_sum_assignment(products, maximize=True)].sum()
    assert solution.converged
    assert float(solution.bound) >= best * (1 - 1e-12)
    assert float(solution.objective) >= best * (1 - 1e-4)
    assert len(Sparse()(Problem(Factors(wide, wide.flip(0), Gaussian(1.0)))).pairs()[0]) == 20


def test_all_pairs_may_be_forbidden_where_nodes_may_stay_alone():
    problem = Problem(NodeEdge(torch.zeros(3, 4)), forbidden=torch.ones(3, 4, dtype=torch.bool), unmatched=0.5)
    solution = Sparse()(problem)
    assert not solution.matching.any()
    assert float(solution.objective) == 3.5
    assert solution.converged


def test_what_does_not_fit_is_refused_in_words():
    x = torch.ones(3, 2)
    with pytest.raises(ValueError, match="one width"):
        Factors(x, torch.ones(3, 4))
    with pytest.raises(TypeError, match="one dtype"):
        Factors(x, x.double())
    with pytest.raises(TypeError, match="affinity"):
        Factors(x, x, "cosine")
    with pytest.raises(ValueError, match="row_terms"):
        Factors(x, x, row_terms=torch.ones(4))
    with pytest.raises(ValueError, match="not finite"):
        Sparse()(Problem(Factors(x * torch.nan, x)))
    with pytest.raises(ValueError, match="gap"):
        Sparse(gap=-1.0)
    assert build("solver", "sparse(k=16, gap=1e-4)") == Sparse(16, 1e-4)
