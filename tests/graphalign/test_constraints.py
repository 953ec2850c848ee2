"""Forbidden and fixed pairs, and scores of staying alone for each node, in every solver, against enumeration."""

import itertools

import pytest
import torch

from graphalign import (
    BruteForce,
    NodeEdge,
    Problem,
    Sinkhorn,
    build,
    components,
    differentiable,
    marginal_error,
    objective,
)

SOLVERS = sorted(components("solver"))
EXACT = [name for name in SOLVERS if components("solver")[name].exact]
SECOND = [name for name in SOLVERS if components("solver")[name].order == 2]
# Relaxed solvers, near enough to a matching that every pair counts.
SOLVER = {"sinkhorn": "sinkhorn(max_iter=5000)", "pygm_sinkhorn": "pygm_sinkhorn(max_iter=2000)"}


def _generator(seed):
    return torch.Generator().manual_seed(seed)


def _problem(seed, *, order=1, batch=3, factored=False):
    """Random problems with any mixture of masks, rectangles, forbidden pairs, seeds and scores of staying alone."""
    g = _generator(seed)
    n, m = (int(x) for x in torch.randint(3, 6, (2,), generator=g))
    node = torch.randn(batch, n, m, generator=g, dtype=torch.float64)
    options = {"forbidden": torch.rand(batch, n, m, generator=g) < 0.25}
    if seed % 2:
        options["mask1"] = torch.rand(batch, n, generator=g) < 0.8
        options["mask2"] = torch.rand(batch, m, generator=g) < 0.8
    if seed % 3:
        rows, cols = torch.randint(n, (batch, 1, 1), generator=g), torch.randint(m, (batch, 1, 1), generator=g)
        options["seeds"] = torch.cat([rows, cols], -1)
        for item in range(batch):
            i, a = options["seeds"][item, 0].tolist()
            options["forbidden"][item, i, a] = False
            for name, place in (("mask1", i), ("mask2", a)):
                if name in options:
                    options[name][item, place] = True
    if seed % 4 < 2:
        alone = torch.randn(batch, n, generator=g), torch.randn(batch, m, generator=g)
        options["unmatched"] = (0.1, 0.4) if seed % 8 == 0 else alone
    if order == 1:
        return Problem(NodeEdge(node), **options)
    edges = torch.randint(n, (2, 7), generator=g), torch.randint(m, (2, 6), generator=g)
    first, second = (torch.randn(batch, e, 2, generator=g, dtype=torch.float64) for e in (7, 6))
    part = {"factors": (first, second)} if factored else {"edge": first @ second.mT}
    return Problem(NodeEdge(node, **part), *edges, **options)


def _full(order=1):
    """The first of the random problems with seeds and forbidden pairs in which all nodes can be and must be matched."""
    problems = (_problem(seed, order=order) for seed in itertools.count(10, 12))
    return next(problem for problem in problems if _solved(BruteForce(), problem) is not None)


def _check_feasible(problem, solution):
    matching = solution.matching
    assert (matching[~problem.allowed()] == 0).all()
    if problem.seeds is not None:
        assert (matching[problem.seeded()] == 1).all()
    assert (marginal_error(matching, problem) < 2e-3).all()


def _solved(solver, problem):
    """The solution, or None where the constraints leave no matching."""
    try:
        return solver(problem)
    except ValueError as error:
        if "finds no partner" not in str(error) and "infeasible" not in str(error):
            raise
        return None


@pytest.mark.parametrize("name", SOLVERS)
def test_constraints_hold_and_exact_solvers_are_optimal(name):
    solver, solved = build("solver", SOLVER.get(name, name)), 0
    for seed in range(24):
        problem = _problem(seed, order=solver.order)
        best, found = _solved(BruteForce(), problem), _solved(solver, problem)
        assert (best is None) == (found is None)
        if found is None:
            continue
        solved += 1
        if found.converged is None or found.converged.all():
            _check_feasible(problem, found)
        top = objective(problem, best.value)
        assert (objective(problem, problem.value(found.matching)) <= top + 1e-6).all()
        if solver.exact:
            assert torch.allclose(objective(problem, found.value), top)
        if found.bound is not None:
            assert (found.bound >= top - 1e-12).all()
            assert (found.gap >= 0).all()
    assert solved > 12


@pytest.mark.parametrize("name", SECOND)
@pytest.mark.parametrize("seed", range(6))
def test_factors_are_the_table_that_they_make(name, seed):
    solver = build("solver", name)
    table, factored = _problem(seed, order=2), _problem(seed, order=2, factored=True)
    found, expected = _solved(solver, factored), _solved(solver, table)
    assert (found is None) == (expected is None)
    if found is not None:
        gained = objective(table, table.value(found.matching))
        assert torch.allclose(objective(factored, found.value), gained)
        if name == "brute_force":
            assert torch.allclose(gained, objective(table, expected.value))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_score_of_minus_infinity_forbids_a_pair(name):
    solver = build("solver", SOLVER.get(name, name))
    problem = _full(solver.order)
    hidden = problem.scores.node.masked_fill(problem.forbidden, -torch.inf)
    scores = NodeEdge(hidden, problem.scores.edge)
    same = Problem(scores, problem.edges1, problem.edges2, unmatched=problem.unmatched, seeds=problem.seeds)
    assert torch.equal(solver(same).matching, solver(problem).matching)


@pytest.mark.parametrize("name", SOLVERS)
def test_infeasible_problems_are_refused_with_the_row(name):
    solver = build("solver", name)
    forbidden = torch.zeros(2, 3, 4, dtype=torch.bool)
    forbidden[1, 2] = True
    with pytest.raises(ValueError, match=r"row 2 in problem 1 of the batch finds no partner"):
        solver(Problem(NodeEdge(torch.zeros(2, 3, 4)), forbidden=forbidden))
    with pytest.raises(ValueError, match=r"column 0 finds no partner"):
        solver(Problem(NodeEdge(torch.zeros(3, 2)), forbidden=torch.tensor([[1, 0]] * 3).bool()))
    assert solver(Problem(NodeEdge(torch.ones(3, 4)), forbidden=forbidden[1], unmatched=0.0)).matching[2].sum() == 0


def test_two_rows_that_share_their_one_column_are_infeasible():
    forbidden = torch.tensor([[0, 1, 1], [0, 1, 1], [0, 0, 0]]).bool()
    with pytest.raises(ValueError, match=r"row [01] finds no partner"):
        build("solver", "lap")(Problem(NodeEdge(torch.zeros(3, 3)), forbidden=forbidden))


def test_a_seed_is_kept_where_leaving_both_alone_scores_more():
    problem = Problem(NodeEdge(torch.full((2, 2), -5.0)), unmatched=1.0, seeds=[(0, 1)])
    solution = build("solver", "lap")(problem)
    assert solution.matching.tolist() == [[0, 1], [0, 0]]
    assert solution.objective == -5 + 2


def test_seeds_score_by_their_edges():
    """A path 0-1-2 with its middle fixed: the ends follow from the edges alone."""
    path1, path2 = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[2, 0], [0, 1]])
    problem = Problem(NodeEdge(torch.zeros(3, 3), torch.ones(2, 2)), path1, path2, seeds=[(1, 0)])
    for name in SECOND:
        assert build("solver", name)(problem).matching.argmax(-1).tolist() == [2, 0, 1]


ESTIMATORS = ["imle(lam=20.0, samples=4)", "blackbox(lam=20.0)", "identity", "straight_through", "aimle(samples=2)",
              "perturbed(noise=normal(2.0), samples=8)",
              "straight_through(surrogate=sinkhorn(tau=0.5))", "detached"]  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_decided_gets_no_gradient(estimator):
    problem = _full()
    node = problem.scores.node.clone().requires_grad_()
    match = differentiable(build("solver", "lap"), build("estimator", estimator))
    solution = match(problem.with_scores(NodeEdge(node)), generator=_generator(0))
    _check_feasible(problem, solution)
    if estimator == "detached":
        return
    (solution.matching * torch.randn(node.shape, generator=_generator(1), dtype=torch.float64)).sum().backward()
    assert node.grad.isfinite().all()
    assert node.grad.abs().sum() > 0
    assert (node.grad[~problem.allowed() | problem.seeded()] == 0).all()


@pytest.mark.parametrize("estimator", ["implicit", "unrolled"])
@pytest.mark.parametrize("seed", [1, 2, 4, 8])
def test_gradients_of_sinkhorn_are_those_of_finite_differences(estimator, seed):
    problem = _problem(seed, batch=1)
    solver = Sinkhorn(tau=1.0, max_iter=5000, tol=1e-12)
    if _solved(solver, problem) is None:
        pytest.skip("infeasible")
    match, weights = differentiable(solver, build("estimator", estimator)), torch.randn(problem.scores.node.shape)
    node = problem.scores.node.clone().requires_grad_()
    loss = lambda x: (match(problem.with_scores(NodeEdge(x))).matching * weights).sum()  # noqa: E731
    loss(node).backward()
    for i, a in itertools.product(*map(range, node.shape[-2:])):
        step = torch.zeros_like(node)
        step[0, i, a] = 1e-4
        slope = (loss(node.detach() + step) - loss(node.detach() - step)) / 2e-4
        if not problem.seeded()[0, i, a]:
            assert slope == pytest.approx(float(node.grad[0, i, a]), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": [(0, 0), (0, 1)]}, ValueError, "fixes the row 0 twice"),
        ({"seeds": [(0, 1), (2, 1)]}, ValueError, "fixes the column 1 twice"),
        ({"seeds": [(3, 0)]}, ValueError, r"the pair \(3, 0\), and there are 3 rows"),
        ({"seeds": [(0, -1)]}, ValueError, r"the pair \(0, -1\)"),
        ({"seeds": [(0, 0)], "mask1": torch.tensor([False, True, True])}, ValueError, "touches a padded node"),
        ({"seeds": [(0, 0)], "forbidden": torch.eye(3).bool()}, ValueError, "is forbidden"),
        ({"seeds": torch.zeros(2, 2)}, TypeError, "pairs"),
        ({"seeds": [[0, 1, 2]]}, ValueError, r"\(\*batch, pairs, 2\)"),
        ({"forbidden": torch.zeros(3, 3)}, TypeError, "must be boolean"),
        ({"forbidden": torch.zeros(3, 2).bool()}, ValueError, "needs the shape"),
        ({"unmatched": (1.0,)}, ValueError, "a pair"),
        ({"unmatched": (1.0, torch.zeros(4))}, ValueError, r"`unmatched\[1\]` needs the shape"),
        ({"unmatched": (1.0, "2")}, TypeError, "must be a number"),
    ],
)
def test_constraints_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Problem(NodeEdge(torch.zeros(3, 3)), **options)


def test_edges_may_be_in_32_bits():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]], dtype=torch.int32)
    problem = Problem(NodeEdge(torch.zeros(3, 3), torch.ones(3, 3)), ring, ring)
    assert problem.edges1.dtype == torch.long
    assert objective(problem, build("solver", "faq")(problem).value) == 3


def test_starts_are_taken_or_refused():
    problem = _problem(3, order=2)
    for name in SOLVERS:
        solver = build("solver", name)
        given = Problem(NodeEdge(torch.zeros(3, 3)), init=torch.eye(3)) if solver.order == 1 else None
        if name in ("faq", "fgw"):
            first = solver(problem)
            again = solver(problem.with_scores(problem.scores, init=first.matching))
            assert (objective(problem, again.value) >= objective(problem, first.value) - 1e-9).all() or name == "fgw"
        elif given is not None and name not in ("sinkhorn", "sparse"):
            with pytest.raises(ValueError, match="takes no warm start"):
                solver(given)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", SOLVERS)
def test_scores_of_staying_alone_must_be_finite(name, bad):
    alone = torch.tensor([0.1, bad, 0.2])
    scores = torch.rand(3, 4, generator=_generator(0))
    with pytest.raises(ValueError, match=r"staying alone that are not finite, in `unmatched\[0\]`"):
        build("solver", name)(Problem(NodeEdge(scores), unmatched=(alone, 0.0)))
    padded = Problem(NodeEdge(scores), unmatched=(alone, 0.0), mask1=torch.tensor([True, False, True]))
    matching = build("solver", name)(padded).matching
    assert bool(matching.isfinite().all())
    assert not bool(matching[1].any())
