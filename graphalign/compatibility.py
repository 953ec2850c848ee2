"""Which solvers and estimators fit together, said before anything is computed."""

from __future__ import annotations

from typing import Any, ClassVar

from .registry import components


class SolverTraits:
    """Traits that a solver declares: an optional base class that holds the defaults.

    A callable that lacks one of the attributes counts as first order and as differentiable.

    Attributes:
        order: 2 if the solver reads edge scores, else 1.
        differentiable: Whether autograd flows through the solver's own operations.
        exact: Whether it always finds the best matching.
        max_nodes: The most nodes of a graph that it takes; None for any number.
        takes_init: Whether it uses `Problem.init`.
        centred: Whether a constant on all scores of a node that every matching pairs leaves the answer as it is; not
            where scores of different rows are compared, as `greedy` does.

    Example:
        >>> from dataclasses import dataclass
        >>> from typing import ClassVar
        >>> from graphalign import Problem, Solution, SolverTraits
        >>> @dataclass(frozen=True)
        ... class Mine(SolverTraits):
        ...     order: ClassVar[int] = 2
        ...     def __call__(self, problem: Problem) -> Solution: ...
        >>> Mine.order, Mine.exact, Mine().max_nodes
        (2, False, None)
    """

    order: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    max_nodes: ClassVar[int | None] = None
    takes_init: ClassVar[bool] = False
    centred: ClassVar[bool] = True


def order_of(solver: Any) -> int:
    """Return 2 if the solver reads edge scores, else 1; a plain function counts as first order."""
    return int(getattr(solver, "order", 1))


def name_of(component: Any) -> str:
    """Return the name under which a component is registered, or else that of its class or function."""
    for kind in ("solver", "estimator"):
        for name, known in components(kind).items():
            if type(component) is known:
                return name
    return str(getattr(component, "__name__", type(component).__name__))


def refusal(solver: Any, estimator: Any, nodes: int | None = None, *, training: bool = False) -> str | None:
    """Say why a pair cannot work, in one sentence that names what fits; None if it can.

    Args:
        solver: A solver object.
        estimator: An estimator object.
        nodes: Nodes of each graph, where they are known: some solvers have a limit.
        training: Whether a loss that reads nothing but the matching trains by it: then the estimator must give a
            gradient.

    Example:
        >>> from graphalign import BruteForce, IMLE, refusal
        >>> refusal(BruteForce(), IMLE()) is None
        True
        >>> refusal(BruteForce(), IMLE(), nodes=100).split(";")[0]
        'brute_force enumerates every matching and takes graphs of at most 8 nodes, but these have 100'
    """
    limit = getattr(solver, "max_nodes", None)
    if nodes is not None and limit is not None and nodes > limit:
        return (
            f"{name_of(solver)} enumerates every matching and takes graphs of at most {limit} nodes, but these have "
            f"{nodes}; use one of {', '.join(solvers_with(max_nodes=None))}."
        )
    if training and not getattr(estimator, "gives_gradient", True):
        return (
            f"{name_of(estimator)} gives no gradient, so a loss that reads nothing but the matching trains nothing: "
            f"use one of {', '.join(_with_gradient())}."
        )
    check = getattr(estimator, "refusal", None)
    return check(solver) if check is not None else None


def needs_autograd(role: str, solver: Any) -> str | None:
    """Say that `solver` has no gradient of its own, and which solvers have; None if it has one or does not say."""
    if getattr(solver, "differentiable", True):
        return None
    fitting = " or ".join(solvers_with(differentiable=True))
    return (
        f"{role} needs a solver that autograd can differentiate, and {name_of(solver)} is not one: use {fitting}, or "
        f"keep {name_of(solver)} with another estimator, e.g. imle."
    )


def needs_vjp(role: str, solver: Any) -> str | None:
    """Say that `solver` has no method `vjp`, and which have; None if it has one."""
    if callable(getattr(solver, "vjp", None)):
        return None
    return (
        f"{role} needs a solver with a `vjp` of its own, and {name_of(solver)} has none: use "
        f"{' or '.join(_solvers_having('vjp'))}, or keep {name_of(solver)} with another estimator, e.g. imle."
    )


def _with_gradient() -> list[str]:
    return sorted(name for name, part in components("estimator").items() if getattr(part, "gives_gradient", True))


def _solvers_having(method: str) -> list[str]:
    return sorted(name for name, solver in components("solver").items() if hasattr(solver, method))


def solvers_with(**attributes: Any) -> list[str]:
    """Return the names of the solvers whose class attributes have these values."""

    def fits(solver: Any) -> bool:
        return all(getattr(solver, key, None) == value for key, value in attributes.items())

    return sorted(name for name, solver in components("solver").items() if fits(solver))
