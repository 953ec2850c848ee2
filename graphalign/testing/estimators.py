"""Checks of estimators: each is called with one behind a solver, `differentiable(solver, estimator)`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..differentiation import differentiable
from ..metrics import marginal_error
from ..problem import NodeEdge, Problem, Solution
from .problems import generator, linear, masks, normal, quadratic, random_problem
from .require import require, require_close, require_solution


def _weights(value: NodeEdge, scale: float) -> NodeEdge:
    """A fixed gradient at a matching, with few different values so that rounding a scale cannot change a decision."""
    return value.map(lambda x: scale * normal(*x.shape, seed=7).sign().to(x))


Gradient = Callable[[NodeEdge], NodeEdge]


def _backward(match: differentiable, problem: Problem, grad: Gradient) -> tuple[Solution, NodeEdge]:
    """The solution, and the gradient at the scores for the gradient `grad(value)` at the matching."""
    scores = problem.scores.map(lambda x: x.detach().clone().requires_grad_())
    solution = match(problem.with_scores(scores), generator=generator())
    outputs, inputs = solution.value.tensors(), scores.tensors()
    grads = torch.autograd.grad(outputs, inputs, grad(solution.value.detach()).tensors())
    return solution, NodeEdge.of(*grads)


def it_returns_a_solution(match: differentiable) -> None:
    """`apply` returns a `Solution` of a `NodeEdge` that autograd knows."""
    problem = random_problem(match.order)
    problem = problem.with_scores(problem.scores.map(lambda x: x.requires_grad_()))
    solution = match.estimator.apply(match.solver, problem, generator())
    sentence = "`apply` returns a Solution, e.g. attach_vjp(Solution(value), problem.scores, vjp)"
    require_solution(solution, problem, sentence)
    require(
        solution.matching.requires_grad,
        "the matching has no gradient: attach one with attach_vjp, or say `gives_gradient = False`",
    )


def the_value_is_a_matching(match: differentiable) -> None:
    """Shape and dtype of the scores, float32 and bfloat16 included; rows sum to at most one."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        problem = random_problem(match.order, 2)
        solution, grad = _backward(match, problem.with_scores(problem.scores.to(dtype)), lambda v: _weights(v, 1.0))
        require(solution.matching.dtype == dtype, f"scores in {dtype} give a matching in {solution.matching.dtype}")
        require(grad.node.dtype == dtype, f"scores in {dtype} get a gradient in {grad.node.dtype}")
        require((marginal_error(solution.matching.double()) < 2e-2).all(), "the value is not a matching")


def gradients_are_finite_and_not_zero(match: differentiable) -> None:
    """Over a batch of random problems, node scores and, in second order, edge scores get a gradient."""
    _, grad = _backward(match, random_problem(match.order, 8), lambda v: _weights(v, 1.0))
    for part, x in zip(("node", "edge"), grad.tensors(), strict=False):
        require(x.isfinite().all(), f"the {part} gradient is not finite")
        require(x.abs().sum() > 0, f"the {part} gradient is zero")


def the_gradient_points_uphill(match: differentiable) -> None:
    r"""$\langle g, \mathrm{vjp}(g)\rangle > 0$: scores moved along $g$ give a matching with more of $g$.

    Summed over several problems, as the gradient of an estimator with noise has the right direction in the mean only.
    """
    along = 0.0
    for seed in range(24, 30):
        _, grad = _backward(match, random_problem(match.order, seed), lambda v: _weights(v, 1.0))
        along += float(_weights(grad, 1.0).dot(grad).sum())
    require(
        along > 0,
        f"scores that follow the gradient lead away from what it asks for (sum of <g, vjp(g)>: {along:.2g}): the sign "
        f"of the gradient is wrong, or the solver minimises",
    )


def the_generator_is_the_only_source_of_noise(match: differentiable) -> None:
    """Same generator state, same values and gradients; the global generator is not touched."""
    before = torch.get_rng_state()
    first, second = (_backward(match, random_problem(match.order, 2), lambda v: _weights(v, 1.0)) for _ in range(2))
    require(torch.equal(first[0].matching, second[0].matching), "the same generator gives another matching")
    require(torch.equal(first[1].node, second[1].node), "the same generator gives another gradient")
    require(torch.equal(before, torch.get_rng_state()), "the global random state was used")


def padding_gets_no_gradient(match: differentiable) -> None:
    """The gradient is zero at padded nodes."""
    problem = quadratic(3, n=4, m=5, **masks()) if match.order == 2 else linear(3, 4, 5, **masks())
    _, grad = _backward(match, problem, lambda v: _weights(v, 1.0))
    require((grad.node[~problem.allowed()] == 0).all(), "padded nodes get a gradient")


def a_gradient_that_overflowed_is_seen(match: differentiable) -> None:
    """An infinite gradient gives NaN or infinity, no error, and that in its own problem alone."""

    def overflowed(value: NodeEdge) -> NodeEdge:
        grad = _weights(value, 1.0)
        grad.node[0, 0, 0] = torch.inf
        return grad

    try:
        _, grad = _backward(match, random_problem(match.order, 2), overflowed)
    except (ValueError, ArithmeticError) as error:
        raise AssertionError(
            f"an infinite gradient makes the backward pass fail ({error}): return NaN for that problem, and step by "
            "zero in place of what is not finite, so that the solver gets finite scores"
        ) from error
    require(not grad.node[0].isfinite().all(), "an infinite gradient came out finite: return NaN for that problem")
    require(
        grad.node[1].isfinite().all(),
        "an infinite gradient spread to another problem: return NaN for its own problem alone",
    )


def autocast_changes_nothing(match: differentiable) -> None:
    """Inside torch.autocast the same matching and gradient come out."""
    problem = random_problem(match.order, 2)
    problem = problem.with_scores(problem.scores.to(torch.float32))
    plain = _backward(match, problem, lambda v: _weights(v, 1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = _backward(match, problem, lambda v: _weights(v, 1.0))
    require(torch.equal(plain[0].matching, cast[0].matching), "autocast changes the matching")
    require(torch.equal(plain[1].node, cast[1].node), "autocast changes the gradient")


def the_scale_of_the_gradient_passes_through(match: differentiable) -> None:
    """vjp(c g) = c vjp(g) for c from 1e-6 to 1e6, in float32 and float64; vjp(0) = 0."""
    for dtype in (torch.float32, torch.float64):
        problem = random_problem(match.order, 3)
        problem = problem.with_scores(problem.scores.to(dtype))
        _, unit = _backward(match, problem, lambda v: _weights(v, 1.0))
        _, none = _backward(match, problem, lambda v: _weights(v, 0.0))
        require(all((x == 0).all() for x in none.tensors()), "a gradient of zero gives a gradient")
        for scale in (1e-6, 1e-3, 0.7, 1e3, 1e6):
            _, scaled = _backward(match, problem, lambda v, c=scale: _weights(v, c))  # type: ignore[misc]
            for x, y in zip(scaled.tensors(), unit.tensors(), strict=True):
                tolerance = 1e-4 * float(y.abs().max())
                require_close(x / scale, y, f"the gradient does not scale with {scale} in {dtype}", tolerance)


def the_scale_of_the_gradient_breaks_no_tie(match: differentiable) -> None:
    """vjp(c g) = c vjp(g) in float32 where whole scores and gradients tie, which the last bit of c g could decide."""
    problem = random_problem(match.order, 24)
    scores = problem.scores.map(lambda x: (2 * x).round().clamp(-2, 2).float().requires_grad_())
    value = match(problem.with_scores(scores), generator=generator()).value
    grad = value.map(lambda x: (2 * normal(*x.shape, seed=11)).round().clamp(-3, 3).to(x))

    def vjp(scale: float) -> NodeEdge:
        outputs, inputs, weights = value.tensors(), scores.tensors(), (grad * scale).tensors()
        return NodeEdge.of(*torch.autograd.grad(outputs, inputs, weights, retain_graph=True)) * (1 / scale)

    unit = vjp(1.0)
    for scale in (1e-6, 1e-3, 0.7, 3.0, 7e4, 1e6):
        for x, y in zip(vjp(scale).tensors(), unit.tensors(), strict=True):
            sentence = (
                f"a gradient scaled by {scale} decides between tied matchings another way: divide it by its largest "
                "entry, and round that to multiples of 2**-16 before the step"
            )
            require_close(x, y, sentence, 1e-4 * float(y.abs().max()))


def problems_of_a_batch_do_not_mix(match: differentiable) -> None:
    """A problem's gradient does not depend on the size of its neighbour's."""

    def louder(value: NodeEdge) -> NodeEdge:
        return _weights(value, 1.0) * torch.tensor([1.0, 1e4], dtype=value.node.dtype)

    _, plain = _backward(match, random_problem(match.order, 2), lambda v: _weights(v, 1.0))
    _, loud = _backward(match, random_problem(match.order, 2), louder)
    require_close(loud.node[0], plain.node[0], "a problem's gradient depends on its neighbour's", 1e-9)


def the_matching_is_a_constant(match: differentiable) -> None:
    """In the dtype of the scores, what the solver finds, of which autograd knows nothing."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        problem = random_problem(match.order, 2)
        problem = problem.with_scores(problem.scores.map(lambda x, d=dtype: x.detach().to(d).requires_grad_()))
        value = match(problem).value
        plain = match.solver(problem.with_scores(problem.scores.detach())).value
        require(not any(x.requires_grad for x in value.tensors()), "the matching is in autograd's graph")
        require(value.node.dtype == dtype, f"scores in {dtype} give a matching in {value.node.dtype}")
        for x, y in zip(value.tensors(), plain.tensors(), strict=True):
            require(torch.equal(x, y), "the matching is not the solver's")


ESTIMATOR_CHECKS: tuple[Callable[[differentiable], None], ...] = (
    it_returns_a_solution,
    the_value_is_a_matching,
    gradients_are_finite_and_not_zero,
    the_gradient_points_uphill,
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
