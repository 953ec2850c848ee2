"""The solver lap with both of its engines, against scipy, enumeration, closed forms and published optima."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from draws import normal
from scipy.optimize import linear_sum_assignment

from graphalign import BruteForce, Lap, NodeEdge, Problem, build, objective
from graphalign.extras import pip_line
from graphalign.solvers.certificate import favourites
from graphalign.solvers.lap import best_columns, load_engine

ENGINES = ["numba", "lapx"]
# Costs and the optimal total, from scipy's own tests (BSD licence).
PUBLISHED = [
    ([[400, 150, 400], [400, 450, 600], [300, 225, 300]], 850),
    ([[400, 150, 400, 1], [400, 450, 600, 2], [300, 225, 300, 3]], 452),
    ([[10, 10, 8], [9, 8, 1], [9, 7, 4]], 18),
    ([[10, 10, 8, 11], [9, 8, 1, 1], [9, 7, 4, 10]], 15),
]


@pytest.fixture(params=ENGINES)
def lap(request):
    return Lap(engine=request.param)


@pytest.fixture
def fresh_engines():
    load_engine.cache_clear()
    yield
    load_engine.cache_clear()


def _check_optimal(scores, matching):
    """Full, injective, and as good as scipy's, up to rounding at the size of the scores."""
    for s, x in zip(scores.double().numpy(), matching.double().numpy(), strict=True):
        rows, cols = linear_sum_assignment(s, maximize=True)
        assert x.sum() == min(s.shape)
        assert x.sum(0).max() <= 1 >= x.sum(1).max()
        assert set(np.unique(x)) <= {0.0, 1.0}
        assert abs((s * x).sum() - s[rows, cols].sum()) <= 1e-12 * len(rows) * np.abs(s).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (31, 31), (33, 33), (40, 64), (64, 40), (90, 91), (300, 300)]
)
def test_random_scores(lap, shape, dtype):
    scores = normal(2, *shape, dtype=dtype)
    for values in (scores, (4 * scores).round(), scores.exp(), scores[:, :, :1] * scores[:, :1]):
        _check_optimal(values, lap(Problem(NodeEdge(values))).matching)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e30, 1.5e37])
def test_magnitudes(lap, scale, dtype):
    scores = normal(2, 30, 30, dtype=dtype) * scale
    _check_optimal(scores, lap(Problem(NodeEdge(scores))).matching)


@pytest.mark.parametrize("unmatched", [None, 1e307])
def test_sums_of_scores_may_overflow(lap, unmatched):
    scores = normal(4, 5, 5).clamp(-1, 1)
    huge = Problem(NodeEdge(scores * 1.7e308), unmatched=unmatched)
    small = Problem(NodeEdge(scores * 1.7), unmatched=None if unmatched is None else unmatched * 1e-308)
    assert torch.equal(lap(huge).matching, BruteForce()(small).matching)


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (40, 40), (7, 12), (12, 7)])
@pytest.mark.parametrize("value", [0.0, -3.0, 1e30])
def test_constant_scores(lap, shape, value):
    scores = torch.full((2, *shape), value)
    _check_optimal(scores, lap(Problem(NodeEdge(scores))).matching)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 1.0])
def test_nearly_diagonal_scores(lap, noise):
    scores = torch.eye(48) + noise * normal(6, 48, 48).float()
    _check_optimal(scores, lap(Problem(NodeEdge(scores))).matching)


@pytest.mark.parametrize(("costs", "optimum"), PUBLISHED)
def test_published_optima(lap, costs, optimum):
    for values in (torch.tensor(costs).float(), torch.tensor(costs).float().mT):
        matching = lap(Problem(NodeEdge(-values))).matching
        assert float((values * matching).sum()) == optimum


@pytest.mark.parametrize("n", [1, 2, 15, 64, 150])
def test_products_are_paired_in_opposite_orders(lap, n):
    """Machol and Wien's hard instances: costs i j have the one optimum i + j = n + 1, by rearrangement."""
    index = torch.arange(1.0, n + 1)
    matching = lap(Problem(NodeEdge(-index[:, None] * index))).matching
    assert torch.equal(matching, torch.eye(n).flip(0))
    assert float((matching * index[:, None] * index).sum()) == n * (n + 1) * (n + 2) / 6


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 17, 40])
def test_a_planted_optimum(lap, n):
    """Reduced costs that are zero on a permutation and positive elsewhere prove it, whatever the potentials are."""
    rng = np.random.default_rng(n)
    order, slack = rng.permutation(n), rng.integers(1, 9, (n, n))
    slack[np.arange(n), order] = 0
    costs = slack + rng.integers(-50, 50, (n, 1)) + rng.integers(-50, 50, n)
    matching = lap(Problem(NodeEdge(-torch.from_numpy(costs).float()))).matching
    assert matching.argmax(-1).tolist() == order.tolist()


@pytest.mark.parametrize("unmatched", [None, -0.4, 0.0, 0.3])
@pytest.mark.parametrize("masks", ["none", "both", "first", "second"])
@pytest.mark.parametrize("shape", [(7, 7), (4, 7), (7, 4), (1, 5), (3, 1)])
def test_masked_and_partial_problems(lap, shape, masks, unmatched):
    rng = torch.Generator().manual_seed(5)
    batch = 2 if shape == (7, 7) else 5
    keep = [torch.rand(batch, size, generator=rng) < 0.7 for size in shape]
    keep[0][0] = False  # an item without any real node
    options = {"mask1": keep[0] if masks in ("both", "first") else None}
    options["mask2"] = keep[1] if masks in ("both", "second") else None
    for values in (normal(batch, *shape), normal(batch, *shape).round()):
        problem = Problem(NodeEdge(values), unmatched=unmatched, **options)
        found, best = lap(problem).value, BruteForce()(problem).value
        assert torch.allclose(objective(problem, found), objective(problem, best), atol=1e-10)
        assert (found.node[~problem.allowed()] == 0).all()


def test_the_engines_agree_where_the_optimum_is_unique():
    for shape in ((8, 20, 20), (8, 20, 33), (8, 33, 20), (2, 128, 128)):
        problem = Problem(NodeEdge(normal(*shape)))
        assert torch.equal(Lap(engine="numba")(problem).matching, Lap(engine="lapx")(problem).matching)


def test_ties_do_not_depend_on_the_neighbours_in_the_batch(lap):
    scores = normal(12, 24, 24).round()
    scores[3] = torch.eye(24)
    together = lap(Problem(NodeEdge(scores))).matching
    for item, matching in zip(scores, together, strict=True):
        assert torch.equal(lap(Problem(NodeEdge(item))).matching, matching)


def test_views_and_leading_dimensions(lap):
    scores = normal(2, 3, 9, 6)
    expected = lap(Problem(NodeEdge(scores.mT.contiguous()))).matching
    assert torch.equal(lap(Problem(NodeEdge(scores.mT))).matching, expected)
    assert torch.equal(lap(Problem(NodeEdge(scores.mT.requires_grad_()))).matching, expected)
    assert torch.equal(lap(Problem(NodeEdge(scores.mT[1, 2]))).matching, expected[1, 2])
    assert lap(Problem(NodeEdge(scores[:0]))).matching.shape == (0, 3, 9, 6)


def test_a_row_that_overflows_only_as_a_sum_is_no_error(lap):
    scores = torch.full((1, 4, 4), 3e38)
    assert lap(Problem(NodeEdge(scores))).matching.sum() == 4


def test_columns_of_one_problem():
    wide = normal(5, 8)
    rows, cols = linear_sum_assignment(wide.numpy(), maximize=True)
    assert best_columns(wide.numpy()).tolist() == cols.tolist()
    tall = best_columns(np.ascontiguousarray(wide.numpy().T))
    assert [(i, j) for i, j in enumerate(tall.tolist()) if j >= 0] == sorted(zip(cols, rows, strict=True))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_certificate_never_lies_and_misses_no_injective_row(n, m):
    """All 0/1/2 matrices, 0/1 ones of three by three: certified exactly where favourites differ, and then optimal."""
    values = torch.cartesian_prod(*[torch.arange(3.0 if n * m < 9 else 2.0)] * (n * m)).reshape(-1, n, m)
    best, clear = favourites(values)
    distinct = torch.tensor([len(set(row)) == n for row in best.tolist()])
    assert torch.equal(clear, distinct)
    if n <= m:
        totals = values.gather(-1, best[..., None])[..., 0].sum(-1)
        problem = Problem(NodeEdge(values))
        assert torch.equal(totals[clear], objective(problem, BruteForce()(problem).value)[clear])
        assert clear.any()
    else:
        assert not clear.any()


def test_problems_with_a_certificate_never_reach_lapx(fresh_engines, monkeypatch):
    import lap as lapx

    seen, original = [], lapx.lapjvr_batch
    monkeypatch.setattr(lapx, "lapjvr_batch", lambda costs, **kw: (seen.append(len(costs)), original(costs, **kw))[1])
    scores = torch.stack([torch.eye(5), torch.ones(5, 5), torch.eye(5).flip(0)])
    assert torch.equal(Lap(engine="lapx")(Problem(NodeEdge(scores))).matching[0], torch.eye(5))
    assert seen == [1]


def test_without_numba_lapx_does(fresh_engines, monkeypatch):
    expected = Lap(engine="lapx")(Problem(NodeEdge(torch.eye(3)))).matching
    load_engine.cache_clear()
    for name in ("jonker_volgenant", "compiled"):
        monkeypatch.delitem(sys.modules, f"graphalign.solvers.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert torch.equal(Lap()(Problem(NodeEdge(torch.eye(3)))).matching, expected)
    with pytest.raises(ImportError, match=re.escape(f"needs the package numba: {pip_line('fast')}")):
        Lap(engine="numba")(Problem(NodeEdge(torch.eye(3))))


def test_without_lapx_the_error_says_what_to_install(fresh_engines, monkeypatch):
    monkeypatch.setitem(sys.modules, "lap", None)
    with pytest.raises(ImportError, match="needs the package lapx: pip install lapx"):
        Lap(engine="lapx")(Problem(NodeEdge(torch.eye(3))))
    assert torch.equal(Lap()(Problem(NodeEdge(torch.eye(3)))).matching, torch.eye(3))


def test_engines_are_imported_at_the_first_call():
    code = "import sys, graphalign; graphalign.Lap(); print(sorted({'numba', 'lap', 'llvmlite'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_engine_is_an_argument():
    assert build("solver", "lap(engine='lapx')") == Lap(engine="lapx")
    assert build("solver", repr(Lap())) == Lap()
    with pytest.raises(ValueError, match="Lap: engine must be one of auto, numba, lapx, not 'rust'"):
        Lap(engine="rust")


@pytest.mark.parametrize("kind", ["uniform", "ties", "shifted", "rows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_small_size_is_solved_and_proved(kind, dtype):
    generator = torch.Generator().manual_seed(0)
    for n, m in itertools.product(range(1, 19), repeat=2):
        scores = torch.rand(3, n, m, generator=generator, dtype=torch.float64)
        if kind == "ties":
            scores = (3 * scores).floor()
        elif kind == "shifted":
            scores = 1e6 * scores - 5e5
        elif kind == "rows":
            scores = (2 * scores).floor() + 1e3 * torch.rand(3, n, 1, generator=generator, dtype=torch.float64)
        scores = scores.to(dtype)
        found = Lap(engine="numba")(Problem(NodeEdge(scores)))
        assert (found.matching.sum((1, 2)) == min(n, m)).all()
        assert found.matching.sum(1).amax() <= 1
        assert found.matching.sum(2).amax() <= 1
        for one, total, bound in zip(scores.double().numpy(), found.objective, found.bound, strict=True):
            best = one[linear_sum_assignment(one, maximize=True)].sum()
            assert abs(total - best) <= 1e-12 * abs(best)
            assert best <= bound <= best + 1e-9 * abs(best)
