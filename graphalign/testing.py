"""Conformance suites: what every solver and every estimator must hold, yours included.

```python
@pytest.mark.parametrize("check", solver_checks(MySolver()), ids=lambda check: check.name)
def test_solver(check):
    check()
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .compatibility import order_of
from .differentiable import Estimator, Solver, differentiable
from .metrics import marginal_error, objective
from .problem import NodeEdge, Problem, Solution
from .solvers import BruteForce, Lap
from .testing_problems import linear, masks, normal, one_item, quadratic, random_problem, ring


@dataclass(frozen=True)
class Check:
    """One property of one component: call it; it raises AssertionError with a sentence where the property fails.

    Args:
        name: Of the property, in words: what a test report shows.
        run: What looks.
        arguments: What it looks at.

    Example:
        >>> from graphalign import Lap
        >>> from graphalign.testing import solver_checks
        >>> check = solver_checks(Lap())[0]
        >>> check.name
        'matchings_are_feasible'
        >>> check()
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]

    def __call__(self) -> None:
        self.run(*self.arguments)


def solver_checks(solver: Solver) -> list[Check]:
    """Returns the checks of a solver, small ones; by its `order` and `exact` it gets those for edges and optimality.

    Args:
        solver: Any callable `Problem -> Solution`.

    Example:
        >>> from graphalign import Lap
        >>> from graphalign.testing import solver_checks
        >>> checks = solver_checks(Lap())
        >>> [check.name for check in checks][-2:]
        ['edges_are_refused', 'no_matching_is_better']
        >>> for check in checks:
        ...     check()
    """
    checks = list(SOLVER_CHECKS)
    checks += SECOND_ORDER_CHECKS if order_of(solver) == 2 else FIRST_ORDER_CHECKS
    if getattr(solver, "exact", False):
        checks += EXACT_CHECKS
    return [Check(check.__name__, check, (solver,)) for check in checks]


def estimator_checks(estimator: Estimator, solver: Solver | None = None) -> list[Check]:
    """Returns the checks of an estimator together with a solver that it fits (by default `Lap()`).

    With a second-order solver the problems have edges. The checks for the scale of the gradient are left out for an
    estimator with `normalize=False`, whose published rule does not hold them. One with `gives_gradient = False` must be
    a constant instead.

    Raises:
        ValueError: The estimator cannot work with the solver.

    Example:
        >>> from graphalign import Blackbox, Detached
        >>> from graphalign.testing import estimator_checks
        >>> [check.name for check in estimator_checks(Detached())]
        ['the_matching_is_a_constant']
        >>> for check in estimator_checks(Blackbox()):
        ...     check()
    """
    match = differentiable(solver if solver is not None else Lap(), estimator)
    if not getattr(estimator, "gives_gradient", True):
        return [Check(the_matching_is_a_constant.__name__, the_matching_is_a_constant, (match,))]
    checks = list(ESTIMATOR_CHECKS)
    if getattr(estimator, "normalize", True):
        checks += SCALE_CHECKS
    return [Check(check.__name__, check, (match,)) for check in checks]


def _require(condition: bool | Tensor, sentence: str) -> None:
    if not bool(condition):
        raise AssertionError(sentence)


def _require_close(actual: Tensor, expected: Tensor, sentence: str, tolerance: float = 1e-5) -> None:
    worst = float((actual - expected).abs().max())
    _require(worst <= tolerance, f"{sentence} (largest difference {worst:.2e}, allowed {tolerance:.0e})")


# --- solvers --------------------------------------------------------------------------------------------------------


def matchings_are_feasible(solver: Solver) -> None:
    """Sums of rows and columns, on square, wide, tall and padded problems with scores as small as cosines."""
    problems = [linear(3, 4, 4), linear(3, 4, 6), linear(3, 6, 4), linear(3, 4, 5, **masks())]
    for problem in problems:
        solution = solver(problem.with_scores(problem.scores * 0.3))
        error = marginal_error(solution.matching, problem)
        settled = torch.ones_like(error, dtype=torch.bool) if solution.converged is None else solution.converged
        _require(settled.any(), "No random problem of four nodes converged.")
        _require((error[settled] <= 1e-3).all(), f"A matching is infeasible by {float(error[settled].max()):.2e}.")
        _require((solution.matching >= 0).all(), "A matching has negative entries.")


def padding_is_as_if_absent(solver: Solver) -> None:
    """A padded problem has the solution of the problem without its padded nodes, whatever their scores are."""
    problem = linear(3, 4, 5, **masks())
    garbage = problem.scores.map(lambda x: x.masked_fill(~problem.allowed(), torch.nan))
    matching = solver(problem.with_scores(garbage)).matching
    _require((matching[~problem.allowed()] == 0).all(), "A padded node is matched.")
    for item, (rows, cols) in enumerate(zip(problem.real1(), problem.real2(), strict=True)):
        alone = solver(Problem(NodeEdge(problem.scores.node[item][rows][:, cols]))).matching
        _require_close(matching[item][rows][:, cols], alone, "Padding changes the matching of the real nodes.")


def a_batch_is_a_loop(solver: Solver) -> None:
    """Every item of a batch of any shape gets the solution that it gets alone."""
    problem = linear(2, 3, 4, 5)
    matching = solver(problem).matching
    _require(matching.shape == problem.scores.node.shape, "The matching has not the shape of the scores.")
    for i in range(2):
        for j in range(3):
            alone = solver(Problem(NodeEdge(problem.scores.node[i, j]))).matching
            _require_close(matching[i, j], alone, "An item's matching depends on its neighbours in the batch.")


def nodes_have_no_order(solver: Solver) -> None:
    """Permuting the nodes permutes the matching."""
    problem, order = linear(2, 5, 5), torch.tensor([3, 0, 4, 1, 2])
    matching = solver(problem).matching
    permuted = solver(Problem(NodeEdge(problem.scores.node[:, order]))).matching
    _require_close(matching[:, order], permuted, "The matching depends on the order of the nodes.")


def inputs_are_left_alone(solver: Solver) -> None:
    """Neither scores nor masks change."""
    problem = linear(3, 4, 5, **masks())
    before = problem.scores.node.clone()
    solver(problem)
    _require(torch.equal(problem.scores.node, before), "The solver wrote into the scores.")


def the_dtype_is_kept(solver: Solver) -> None:
    """Scores in float64, float32 and bfloat16 give a matching of the same dtype and, nearly, of the same value."""
    exact = linear(3, 4, 4).scores.node.to(torch.bfloat16)
    expected = solver(Problem(NodeEdge(exact.double()))).matching
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        matching = solver(Problem(NodeEdge(exact.to(dtype)))).matching
        _require(matching.dtype == dtype, f"Scores in {dtype} give a matching in {matching.dtype}.")
        tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-3
        _require_close(matching.double(), expected, f"{dtype} changes the matching.", tolerance)


def scores_that_are_not_finite_are_refused(solver: Solver) -> None:
    """NaN and infinities raise ValueError instead of giving a matching."""
    for bad in (torch.nan, torch.inf, -torch.inf):
        scores = normal(2, 3, 3)
        scores[1, 0, 2] = bad
        try:
            solver(Problem(NodeEdge(scores)))
        except ValueError:
            continue
        raise AssertionError(f"A score of {bad} is not refused.")


def leaving_nodes_alone_is_weighed(solver: Solver) -> None:
    """Nobody is matched where being alone pays more than any pair, everybody where it costs more."""
    for unmatched, pairs in ((1.0, 0), (-1.0, 4)):
        problem = linear(2, 4, 5, unmatched=unmatched)
        problem = problem.with_scores(problem.scores * 0.3)
        total = solver(problem).matching.sum((-2, -1))
        _require(((total - pairs).abs() < 1e-2).all(), f"With unmatched={unmatched}, {pairs} pairs are due.")


def edges_are_refused(solver: Solver) -> None:
    """A first-order solver does not silently drop edge scores."""
    try:
        solver(quadratic(2))
    except ValueError:
        return
    raise AssertionError("A first-order solver accepts edge scores.")


def edges_matter(solver: Solver) -> None:
    """With node scores of zero, an objective above the mean of random matchings is reached by edges alone."""
    problem = quadratic(20, n=5, m=5)
    problem = problem.with_scores(NodeEdge(torch.zeros_like(problem.scores.node), problem.scores.edge))
    solution = solver(problem)
    edge = problem.edge_matching(solution.matching)
    _require(solution.value.edge is not None, "The solution has no edge part.")
    _require_close(edge, solution.value.edge, "The edge part is not the product of node entries.")  # type: ignore[arg-type]
    _require(objective(problem, solution.value).mean() > 1, "Edge scores do not improve the matching.")


def edges_in_a_batch_are_a_loop(solver: Solver) -> None:
    """Second order: rectangles, masks and a batch give what each item gives alone."""
    problem = quadratic(3, n=4, m=5, **masks())
    matching = solver(problem).matching
    _require((matching[~problem.allowed()] == 0).all(), "A padded node is matched.")
    for item in range(3):
        alone = solver(one_item(problem, item)).matching
        _require_close(matching[item], alone, "An item's matching depends on its neighbours in the batch.")


def padded_edges_are_as_if_absent(solver: Solver) -> None:
    """Second order: a problem with padded edges is the problem without them, whatever their scores are."""
    real1, real2 = masks().values()
    problem = quadratic(3, n=4, m=5, edge_mask1=real1, edge_mask2=real2)
    node, edge = problem.scores.tensors()
    solution = solver(problem.with_scores(NodeEdge(node, edge.masked_fill(~problem.allowed_edges(), torch.nan))))
    value = problem.edge_matching(solution.matching)
    _require_close(solution.value.edge, value, "The edge part is not zero at padded edges.")  # type: ignore[arg-type]
    for item, (e, f) in enumerate(zip(real1, real2, strict=True)):
        alone = Problem(NodeEdge(node[item], edge[item][e][:, f]), ring(4)[:, e], ring(5)[:, f])
        _require_close(solution.matching[item], solver(alone).matching, "Padded edges change the matching.")


def no_matching_is_better(solver: Solver) -> None:
    """The optimum, against enumeration: random, tied, wide, tall, padded and partial problems."""
    tied = Problem(NodeEdge(normal(6, 5, 5).round()))
    problems = [linear(6, 5, 5), tied, linear(6, 3, 5), linear(6, 5, 3), linear(3, 4, 5, **masks())]
    problems += [replace(p, unmatched=u) for p in problems for u in (-0.4, 0.0, 0.3)]
    for problem in problems:
        best = objective(problem, BruteForce()(problem).value)
        found = objective(problem, solver(problem).value)
        _require_close(found, best, f"Not optimal with unmatched={problem.unmatched}.", 1e-9)


SOLVER_CHECKS: tuple[Callable[[Solver], None], ...] = (
    matchings_are_feasible,
    padding_is_as_if_absent,
    a_batch_is_a_loop,
    nodes_have_no_order,
    inputs_are_left_alone,
    the_dtype_is_kept,
    scores_that_are_not_finite_are_refused,
    leaving_nodes_alone_is_weighed,
)
FIRST_ORDER_CHECKS: tuple[Callable[[Solver], None], ...] = (edges_are_refused,)
SECOND_ORDER_CHECKS: tuple[Callable[[Solver], None], ...] = (
    edges_matter,
    edges_in_a_batch_are_a_loop,
    padded_edges_are_as_if_absent,
)
EXACT_CHECKS: tuple[Callable[[Solver], None], ...] = (no_matching_is_better,)


# --- estimators -----------------------------------------------------------------------------------------------------


def _weights(value: NodeEdge, scale: float) -> NodeEdge:
    """A fixed gradient at a matching, with few different values so that rounding a scale cannot change a decision."""
    return value.map(lambda x: scale * normal(*x.shape, seed=7).sign().to(x))


Gradient = Callable[[NodeEdge], NodeEdge]


def _backward(match: differentiable, problem: Problem, grad: Gradient) -> tuple[Solution, NodeEdge]:
    """The solution, and the gradient at the scores for the gradient `grad(value)` at the matching."""
    scores = problem.scores.map(lambda x: x.detach().clone().requires_grad_())
    solution = match(problem.with_scores(scores), generator=torch.Generator().manual_seed(3))
    outputs, inputs = solution.value.tensors(), scores.tensors()
    grads = torch.autograd.grad(outputs, inputs, grad(solution.value.detach()).tensors())
    return solution, NodeEdge(*grads)


def the_value_is_a_matching(match: differentiable) -> None:
    """Shape and dtype of the scores, float32 and bfloat16 included; rows sum to at most one."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        problem = random_problem(match.order, 2)
        solution, grad = _backward(match, problem.with_scores(problem.scores.to(dtype)), lambda v: _weights(v, 1.0))
        _require(solution.matching.dtype == dtype, f"Scores in {dtype} give a matching in {solution.matching.dtype}.")
        _require(grad.node.dtype == dtype, f"Scores in {dtype} get a gradient in {grad.node.dtype}.")
        _require((marginal_error(solution.matching.double()) < 2e-2).all(), "The value is no matching.")


def gradients_are_finite_and_not_zero(match: differentiable) -> None:
    """Over a batch of random problems, node scores and, in second order, edge scores get a gradient."""
    _, grad = _backward(match, random_problem(match.order, 8), lambda v: _weights(v, 1.0))
    for part, x in zip(("node", "edge"), grad.tensors(), strict=False):
        _require(x.isfinite().all(), f"The {part} gradient is not finite.")
        _require(x.abs().sum() > 0, f"The {part} gradient is zero.")


def the_generator_is_the_only_source_of_noise(match: differentiable) -> None:
    """Same generator state, same values and gradients; the global generator is not touched."""
    before = torch.get_rng_state()
    first, second = (_backward(match, random_problem(match.order, 2), lambda v: _weights(v, 1.0)) for _ in range(2))
    _require(torch.equal(first[0].matching, second[0].matching), "The same generator gives another matching.")
    _require(torch.equal(first[1].node, second[1].node), "The same generator gives another gradient.")
    _require(torch.equal(before, torch.get_rng_state()), "The global random state was used.")


def padding_gets_no_gradient(match: differentiable) -> None:
    """The gradient is zero at padded nodes."""
    problem = quadratic(3, n=4, m=5, **masks()) if match.order == 2 else linear(3, 4, 5, **masks())
    _, grad = _backward(match, problem, lambda v: _weights(v, 1.0))
    _require((grad.node[~problem.allowed()] == 0).all(), "Padded nodes get a gradient.")


def a_gradient_that_overflowed_is_seen(match: differentiable) -> None:
    """An infinite gradient neither crashes the backward pass nor comes out finite; other items are not affected."""

    def overflowed(value: NodeEdge) -> NodeEdge:
        grad = _weights(value, 1.0)
        grad.node[0, 0, 0] = torch.inf
        return grad

    _, grad = _backward(match, random_problem(match.order, 2), overflowed)
    _require(not grad.node[0].isfinite().all(), "An infinite gradient came out finite.")
    _require(grad.node[1].isfinite().all(), "An infinite gradient spread to another problem.")


def autocast_changes_nothing(match: differentiable) -> None:
    """Inside torch.autocast the same matching and gradient come out."""
    problem = random_problem(match.order, 2)
    problem = problem.with_scores(problem.scores.to(torch.float32))
    plain = _backward(match, problem, lambda v: _weights(v, 1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = _backward(match, problem, lambda v: _weights(v, 1.0))
    _require(torch.equal(plain[0].matching, cast[0].matching), "autocast changes the matching.")
    _require(torch.equal(plain[1].node, cast[1].node), "autocast changes the gradient.")


def the_scale_of_the_gradient_passes_through(match: differentiable) -> None:
    """vjp(c g) = c vjp(g) for c from 1e-6 to 1e6, in float32 and float64; vjp(0) = 0."""
    for dtype in (torch.float32, torch.float64):
        problem = random_problem(match.order, 3)
        problem = problem.with_scores(problem.scores.to(dtype))
        _, unit = _backward(match, problem, lambda v: _weights(v, 1.0))
        _, none = _backward(match, problem, lambda v: _weights(v, 0.0))
        _require(all((x == 0).all() for x in none.tensors()), "A gradient of zero gives a gradient.")
        for scale in (1e-6, 1e-3, 0.7, 1e3, 1e6):
            _, scaled = _backward(match, problem, lambda v, c=scale: _weights(v, c))  # type: ignore[misc]
            for x, y in zip(scaled.tensors(), unit.tensors(), strict=True):
                tolerance = 1e-4 * float(y.abs().max())
                _require_close(x / scale, y, f"The gradient does not scale with {scale} in {dtype}.", tolerance)


def the_scale_of_the_gradient_breaks_no_tie(match: differentiable) -> None:
    """vjp(c g) = c vjp(g) in float32 where whole scores and gradients tie, which the last bit of c g could decide."""
    problem = random_problem(match.order, 24)
    scores = problem.scores.map(lambda x: (2 * x).round().clamp(-2, 2).float().requires_grad_())
    value = match(problem.with_scores(scores), generator=torch.Generator().manual_seed(3)).value
    grad = value.map(lambda x: (2 * normal(*x.shape, seed=11)).round().clamp(-3, 3).to(x))

    def vjp(scale: float) -> NodeEdge:
        outputs, inputs, weights = value.tensors(), scores.tensors(), (grad * scale).tensors()
        return NodeEdge(*torch.autograd.grad(outputs, inputs, weights, retain_graph=True)) * (1 / scale)

    unit = vjp(1.0)
    for scale in (1e-6, 1e-3, 0.7, 3.0, 7e4, 1e6):
        for x, y in zip(vjp(scale).tensors(), unit.tensors(), strict=True):
            sentence = f"A gradient scaled by {scale} decides between tied matchings another way."
            _require_close(x, y, sentence, 1e-4 * float(y.abs().max()))


def problems_of_a_batch_do_not_mix(match: differentiable) -> None:
    """A problem's gradient does not depend on the size of its neighbour's."""

    def louder(value: NodeEdge) -> NodeEdge:
        return _weights(value, 1.0) * torch.tensor([1.0, 1e4], dtype=value.node.dtype)

    _, plain = _backward(match, random_problem(match.order, 2), lambda v: _weights(v, 1.0))
    _, loud = _backward(match, random_problem(match.order, 2), louder)
    _require_close(loud.node[0], plain.node[0], "A problem's gradient depends on its neighbour's.", 1e-9)


def the_matching_is_a_constant(match: differentiable) -> None:
    """In the dtype of the scores, what the solver finds, of which autograd knows nothing."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        problem = random_problem(match.order, 2)
        problem = problem.with_scores(problem.scores.map(lambda x, d=dtype: x.detach().to(d).requires_grad_()))
        value = match(problem).value
        plain = match.solver(problem.with_scores(problem.scores.detach())).value
        _require(not any(x.requires_grad for x in value.tensors()), "The matching is in autograd's graph.")
        _require(value.node.dtype == dtype, f"Scores in {dtype} give a matching in {value.node.dtype}.")
        for x, y in zip(value.tensors(), plain.tensors(), strict=True):
            _require(torch.equal(x, y), "The matching is not the solver's.")


ESTIMATOR_CHECKS: tuple[Callable[[differentiable], None], ...] = (
    the_value_is_a_matching,
    gradients_are_finite_and_not_zero,
    the_generator_is_the_only_source_of_noise,
    padding_gets_no_gradient,
    a_gradient_that_overflowed_is_seen,
    autocast_changes_nothing,
)
SCALE_CHECKS: tuple[Callable[[differentiable], None], ...] = (
    the_scale_of_the_gradient_passes_through,
    the_scale_of_the_gradient_breaks_no_tie,
    problems_of_a_batch_do_not_mix,
)
