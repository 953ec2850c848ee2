"""One combinator: a solver and an estimator make a differentiable solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from .arguments import check_generator, shown
from .compatibility import order_of, refusal
from .obedience import check_obeys, check_solution
from .problem import NodeEdge, Problem, Solution
from .solvers.preparation import check_finite_scores, check_problem


@runtime_checkable
class Solver(Protocol):
    """Any callable from a problem to a solution; a plain function is one.

    Built-in solvers also have the class attributes `order` (1 or 2), `differentiable` (whether autograd flows through
    their own operations), `exact` and `max_nodes`, by which pairs that cannot work are refused early.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, Solution, Solver, differentiable, StraightThrough
        >>> def diagonal(problem: Problem) -> Solution:
        ...     return Solution(NodeEdge(torch.eye(2).expand_as(problem.scores.node)))
        >>> isinstance(diagonal, Solver)
        True
        >>> differentiable(diagonal, StraightThrough())(Problem(NodeEdge(torch.zeros(2, 2)))).matching
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __call__(self, problem: Problem, /) -> Solution:
        """Solve every problem of the batch."""


@runtime_checkable
class Estimator(Protocol):
    """Decides what gradient a solver has; `differentiable` joins the two.

    Example:
        >>> from graphalign import Estimator, IMLE
        >>> isinstance(IMLE(), Estimator)
        True
    """

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem and attach a gradient to the solution."""


@dataclass(frozen=True)
class differentiable:  # lower case: it reads as a function, and prints as its arguments
    """A solver with a gradient: `match = differentiable(solver, estimator)`, then `match(problem, generator=g)`.

    Takes a problem and gives a solution, as the solver itself does, so that a wrapper around one fits the other.
    Half-precision scores are solved in float32, autocast is off inside, and the matching comes back in the dtype of
    the scores.

    Args:
        solver: Any callable `Problem -> Solution`.
        estimator: The rule for the gradient, e.g. `IMLE()`.

    Raises:
        TypeError: The solver cannot be called, or the estimator has no `apply`: texts, classes, or the two in the other
            order.
        ValueError: The estimator cannot work with the solver; the sentence names the pairs that fit.

    Example:
        >>> import torch
        >>> from graphalign import Blackbox, BruteForce, NodeEdge, Problem, differentiable
        >>> scores = torch.eye(2).requires_grad_()
        >>> match = differentiable(BruteForce(), Blackbox(lam=4.0))
        >>> match(Problem(NodeEdge(scores))).matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """

    solver: Solver
    estimator: Estimator

    def __post_init__(self) -> None:
        _check_parts(self.solver, self.estimator)
        reason = refusal(self.solver, self.estimator)
        if reason is not None:
            raise ValueError(reason)

    @property
    def order(self) -> int:
        """1 if the solver reads node scores only, 2 if it also reads edge scores."""
        return order_of(self.solver)

    def __call__(self, problem: Problem, generator: Generator | None = None) -> Solution:
        check_problem(problem, "match")
        _check_transforms()
        check_generator(generator)
        dtype = problem.scores.node.dtype
        precision = torch.promote_types(dtype, torch.float32)
        with torch.autocast(problem.scores.node.device.type, enabled=False):
            working = problem.with_scores(problem.scores.to(precision), problem.init).masked()
            try:
                solution = self.estimator.apply(self.solver, working, generator)
            except ValueError:
                # Of the scores as they were given: the solver saw noisy copies. Only now, as looking waits for a GPU.
                check_finite_scores(type(self.solver).__name__, working.scores)
                raise
        return replace(solution, value=solution.value.to(dtype))


def _check_parts(solver: Any, estimator: Any) -> None:
    if hasattr(solver, "apply") and callable(estimator) and not isinstance(solver, type | Tensor):
        raise TypeError(
            f"differentiable takes the solver first, then the estimator: differentiable({type(estimator).__name__}(), "
            f"{type(solver).__name__}())"
        )
    for kind, part, fits in (
        ("solver", solver, callable(solver)),
        ("estimator", estimator, hasattr(estimator, "apply")),
    ):
        if isinstance(part, str):
            raise TypeError(
                f"differentiable: the {kind} must be an object, not its name: write "
                f"graphalign.build({kind!r}, {part!r})"
            )
        if isinstance(part, type):
            raise TypeError(f"differentiable: the {kind} must be an object, not a class: write {part.__name__}()")
        if not fits:
            example = "Lap()" if kind == "solver" else "IMLE()"
            raise TypeError(f"differentiable: the {kind} must be one such as {example}, not {shown(part)}")


def solve(solver: Solver, problem: Problem, scores: NodeEdge) -> Solution:
    """Solve `problem` with other scores and without a gradient; fill in an edge part that the solver left out.

    Args:
        solver: Any callable `Problem -> Solution`.
        problem: The constraints.
        scores: The scores to maximise in place of the problem's; noise samples may lead as a batch
            dimension.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem
        >>> scores = NodeEdge(torch.eye(2).requires_grad_())
        >>> solve(Lap(), Problem(scores), scores * -1.0).matching
        tensor([[0., 1.],
                [1., 0.]])
    """
    with torch.no_grad(), torch.autocast(scores.node.device.type, enabled=False):
        asked = problem.with_scores(scores)
        solution = solver(asked)
        check_solution(solution, solver)
        if _is_foreign(solver) and asked.is_constrained:
            check_obeys(asked, solution.matching, solver)
        if scores.has_edges and not solution.value.has_edges:
            value = asked.value(solution.value.node)
            solution = replace(solution, value=value)
    return solution


def _is_foreign(solver: Any) -> bool:
    """Whether a solver is from outside this library; those of it are tested to do what they are asked."""
    return type(solver).__module__.partition(".")[0] != __package__


def attach_vjp(solution: Solution, scores: NodeEdge, vjp: Callable[[NodeEdge], NodeEdge]) -> Solution:
    """Return `solution` with a gradient: the backward pass sends `vjp(grad)` to `scores`.

    Args:
        solution: The values of the forward pass, with the same parts (node, edge) as `scores`.
        scores: Where the gradient goes.
        vjp: From the gradient at the matching to the gradient at the scores; called without recording.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem, attach_vjp
        >>> scores = NodeEdge(torch.eye(2).requires_grad_())
        >>> solution = attach_vjp(Lap()(Problem(scores.detach())), scores, lambda grad: grad * 10.0)
        >>> solution.matching[0, 0].backward()
        >>> scores.node.grad
        tensor([[10.,  0.],
                [ 0.,  0.]])
    """
    out = _AttachVJP.apply(vjp, *solution.value.tensors(), *scores.tensors())  # type: ignore[no-untyped-call]
    return replace(solution, value=NodeEdge.of(*out))


def _check_transforms() -> None:
    """Raise RuntimeError inside of torch.func, whose tensors have no values that a solver could read."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            "match cannot be called inside of torch.func (vmap, grad, vjp, jvp, jacrev): a solver reads the scores "
            "themselves; call it on the whole batch, and take gradients by backward() or torch.autograd.grad"
        )


class _AttachVJP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vjp: Callable[[NodeEdge], NodeEdge], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.vjp = vjp
        ctx.save_for_backward(*tensors[len(tensors) // 2 :])
        return tuple(x.clone() for x in tensors[: len(tensors) // 2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = ctx.vjp(NodeEdge.of(*grads)).tensors()
        if torch.is_grad_enabled():  # create_graph=True: the gradient depends on both, in a way that nobody knows
            found = _Once.apply(len(found), *found, *grads, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, *(None for _ in grads), *found

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("a matching has no derivative in forward mode; use backward() or torch.autograd.grad")


class _Once(torch.autograd.Function):
    """A gradient that depends on nothing differentiable: a second derivative raises an error."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "a matching has no second derivatives: its gradient is an estimate, of which none is defined; leave "
            "create_graph out where the gradient flows through `match`, or detach the matching"
        )
