"""Situations of forbidden and fixed pairs that other libraries document, side by side with the library if installed."""

import itertools

import numpy as np
import pytest
import torch

from graphalign import match

linear_sum_assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
quadratic_assignment = pytest.importorskip("scipy.optimize").quadratic_assignment

BARRED = [
    [[4.0, np.inf, 3.0], [2.0, 0.0, np.inf], [np.inf, 2.0, 2.0]],  # some pairs
    [[np.inf, 1.0], [1.0, np.inf], [5.0, 5.0]],  # more rows than columns
    [[np.inf, np.inf, 1.0], [7.0, np.inf, 2.0]],  # more columns than rows
    [[1.0, np.inf], [np.inf, 1.0]],  # one matching only
    [[3.0]],
]


@pytest.mark.parametrize("costs", BARRED)
@pytest.mark.parametrize("solver", ["lap", "lap(engine='lapx')", "hungarian", "brute_force", "sparse", "auction"])
def test_infinite_costs_as_in_scipy(costs, solver):
    rows, cols = linear_sum_assignment(costs)
    costs = np.array(costs)
    for given in ({"scores": -costs}, {"scores": -np.nan_to_num(costs, posinf=0), "forbidden": np.isinf(costs)}):
        found = match(solver=solver, **given)
        assert found.rows.tolist() == rows.tolist()
        assert found.cols.tolist() == cols.tolist()
        assert found.objective == pytest.approx(-costs[rows, cols].sum())


@pytest.mark.parametrize(
    "costs", [[[np.inf, np.inf], [1.0, 2.0]], [[np.inf]], [[1.0, np.inf], [2.0, np.inf]], [[np.inf] * 3] * 2]
)
def test_what_scipy_calls_infeasible_names_the_node(costs):
    with pytest.raises(ValueError, match="infeasible"):
        linear_sum_assignment(costs)
    for solver in ("lap", "hungarian", "greedy", "sinkhorn", "sparse"):
        with pytest.raises(ValueError, match=r"(row|column) \d finds no partner"):
            match(scores=-np.array(costs), solver=solver)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_scipy_calls_invalid_is_refused(bad):
    with pytest.raises(ValueError, match=r"invalid numeric entries|infeasible"):
        linear_sum_assignment([[1.0, bad], [2.0, -bad if bad == np.inf else 1.0]], maximize=True)
    with pytest.raises(ValueError, match="not finite"):
        match(scores=[[1.0, bad], [2.0, 1.0]])


def test_random_problems_with_forbidden_pairs_as_in_scipy():
    rng, solved = np.random.default_rng(0), 0
    for _ in range(200):
        n, m = rng.integers(2, 12, 2)
        costs = rng.random((n, m))
        costs[rng.random((n, m)) < 0.3] = np.inf
        try:
            rows, cols = linear_sum_assignment(costs)
        except ValueError:
            with pytest.raises(ValueError, match="finds no partner"):
                match(scores=-costs)
            continue
        solved += 1
        assert match(scores=-costs).objective == pytest.approx(-costs[rows, cols].sum(), abs=1e-12)
    assert solved > 100


def test_a_cost_limit_of_lapx_is_a_score_of_staying_alone():
    lap = pytest.importorskip("lap")
    rng = np.random.default_rng(1)
    for _ in range(100):
        n, m = rng.integers(2, 10, 2)
        costs, limit = rng.random((n, m)), float(rng.uniform(0.05, 0.5))
        _, columns, _ = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
        found = match(scores=-costs, unmatched=-limit / 2)
        pairs = [(i, int(a)) for i, a in enumerate(columns) if a >= 0]
        assert list(zip(found.rows.tolist(), found.cols.tolist(), strict=True)) == pairs


def test_large_costs_in_place_of_forbidden_pairs_as_trackers_of_lapx_do():
    lap = pytest.importorskip("lap")
    rng = np.random.default_rng(2)
    for _ in range(100):
        costs, barred = rng.random((6, 8)), rng.random((6, 8)) < 0.4
        _, columns, _ = lap.lapjv(np.where(barred, 1e5, costs), extend_cost=True, cost_limit=1.0)
        found = match(scores=-costs, forbidden=barred, unmatched=-0.5)
        pairs = [(i, int(a)) for i, a in enumerate(columns) if a >= 0]
        assert list(zip(found.rows.tolist(), found.cols.tolist(), strict=True)) == pairs


def _best_with(a, b, seeds, sign):
    """Enumeration over the matchings that make the seeds."""
    n, best = len(a), -np.inf
    for columns in itertools.permutations(range(n)):
        if all(columns[i] == c for i, c in seeds):
            best = max(best, sign * float((a * b[np.ix_(columns, columns)]).sum()))
    return sign * best


@pytest.mark.parametrize("seeds", [[], [(0, 2)], [(4, 1), (0, 0)], [(i, 5 - i) for i in range(6)]])
@pytest.mark.parametrize("maximize", [False, True])
def test_fixed_pairs_as_in_scipy(seeds, maximize):
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 9, (2, 6, 6)).astype(float)
    options = {"partial_match": np.array(seeds).reshape(-1, 2), "maximize": maximize, "rng": np.random.default_rng(0)}
    theirs = quadratic_assignment(a, b, options=options)
    sign = 1.0 if maximize else -1.0
    found = match(adjacency=(sign * a, b), seeds=seeds, solver="faq(restarts=5)")
    cols = found.cols.numpy()
    assert all(cols[i] == theirs.col_ind[i] == c for i, c in seeds)
    assert found.objective == pytest.approx(sign * (a * b[np.ix_(cols, cols)]).sum())
    assert found.objective >= sign * theirs.fun
    exact = match(adjacency=(sign * a, b), seeds=seeds, solver="brute_force")
    assert sign * exact.objective == pytest.approx(_best_with(a, b, seeds, sign))


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ([(0, 6)], "holds the pair"),  # outside
        ([(-1, 0)], "holds the pair"),
        ([(0, 0), (0, 1)], "twice"),  # one row for two columns
        ([(0, 0), (1, 0)], "twice"),
    ],
)
def test_fixed_pairs_that_scipy_refuses(seeds, sentence):
    a = np.ones((6, 6))
    with pytest.raises(ValueError, match="partial_match"):
        quadratic_assignment(a, a, options={"partial_match": np.array(seeds)})
    with pytest.raises(ValueError, match=sentence):
        match(adjacency=(a, a), seeds=seeds, solver="faq")


def _correlated(rng, n, share):
    """A random graph, a copy of it with some edges drawn again, and the order of the copy."""
    first = np.triu(rng.random((n, n)) < 0.5, 1).astype(float)
    second, redrawn = first.copy(), np.triu(rng.random((n, n)) < share, 1)
    second[redrawn] = rng.random(redrawn.sum()) < 0.5
    first, second, order = first + first.T, second + second.T, rng.permutation(n)
    return first, second[np.ix_(order, order)], np.argsort(order)


def test_seeds_lead_correlated_graphs_to_their_truth():
    """The seeded matching of correlated random graphs, as graspologic's tutorial on seeds has it."""
    rng = np.random.default_rng(4)
    right = {0: [], 10: []}
    for _ in range(3):
        first, second, partner = _correlated(rng, 50, 0.35)
        for count in right:
            found = match(adjacency=(first, second), seeds=[(i, int(partner[i])) for i in range(count)], solver="faq")
            right[count].append(float((found.cols.numpy() == partner).mean()))
    assert min(right[10]) > 0.95
    assert np.mean(right[10]) >= np.mean(right[0])


def test_a_smaller_graph_is_found_in_a_larger_one():
    """graspologic pads the smaller graph; here nodes of the larger one stay alone, with seeds and without."""
    rng = np.random.default_rng(5)
    whole = np.triu(rng.random((40, 40)) < 0.4, 1).astype(float)
    whole += whole.T
    kept = rng.permutation(40)[:25]
    part = whole[np.ix_(kept, kept)]
    found = match(adjacency=(part, whole - 0.5), seeds=[(i, int(kept[i])) for i in range(5)], solver="faq")
    assert (found.cols.numpy() == kept).mean() > 0.9


def test_the_same_seeds_in_graspologic():
    graph_match = pytest.importorskip("graspologic.match").graph_match
    rng = np.random.default_rng(4)
    first, second, partner = _correlated(rng, 50, 0.35)
    seeds = np.stack([np.arange(10), partner[:10]], 1)
    theirs = graph_match(first, second, partial_match=seeds, rng=np.random.default_rng(0))
    ours = match(adjacency=(first, second), seeds=torch.from_numpy(seeds), solver="faq")
    assert (ours.cols[:10].numpy() == partner[:10]).all()
    agreeing = (first * second[np.ix_(theirs.indices_B, theirs.indices_B)]).sum()
    assert ours.objective >= agreeing - 1e-9


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["similarity", "padding", "directed", "seeds"])
def test_objectives_beside_graspologic(kind, seed):
    """Weighted noisy graphs with similarities, of two sizes, directed, or with seeds; all count by one objective."""
    graph_match = pytest.importorskip("graspologic.match").graph_match
    rng = np.random.default_rng(seed)
    n, m = (15, 22) if kind == "padding" else (20, 20)
    whole, noise = rng.random((m, m)) * (rng.random((m, m)) < 0.4), 0.05 * np.abs(rng.standard_normal((n, n)))
    if kind != "directed":
        whole, noise = np.triu(whole, 1) + np.triu(whole, 1).T, noise + noise.T
    truth = rng.permutation(m)[:n]
    part = whole[np.ix_(truth, truth)]
    part = part + (part > 0) * noise
    scores = rng.random((n, m)) * (kind == "similarity")
    scores[np.arange(n), truth] += 0.3 * (kind == "similarity")
    fixed = np.stack([np.arange(5), truth[:5]], 1) if kind in ("padding", "seeds") else None
    seeds = None if fixed is None else torch.from_numpy(fixed)
    ours = match(scores=scores, adjacency=(part, whole), seeds=seeds, solver="faq")
    assert fixed is None or (ours.cols[:5].numpy() == truth[:5]).all()
    for padding in ("naive", "adopted"):
        theirs = graph_match(part, whole, S=scores, partial_match=fixed, padding=padding, rng=0)
        rows, cols = theirs.indices_A, theirs.indices_B
        total = scores[rows, cols].sum() + (part[np.ix_(rows, rows)] * whole[np.ix_(cols, cols)]).sum()
        assert ours.objective >= total - 1e-9
        assert ours.bound >= total


def test_whole_numbers_that_may_be_a_mask_or_pairs_are_refused():
    scores = [[1.0, 2.0], [4.0, 3.0]]
    for ambiguous in ([[0, 1], [1, 0]], np.array([[0, 1], [1, 0]]), torch.tensor([[0, 1], [1, 0]])):
        with pytest.raises(ValueError, match="may be a mask or pairs: give a mask as bool"):
            match(scores=scores, forbidden=ambiguous)
    mask = np.array([[False, True], [True, False]])
    for clear in (
        [(0, 1), (1, 0)],
        {(0, 1), (1, 0)},
        mask,
        mask.tolist(),
        pytest.importorskip("scipy.sparse").coo_array(mask),
    ):
        assert match(scores=scores, forbidden=clear).cols.tolist() == [0, 1]
