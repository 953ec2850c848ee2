"""Conformance suites: what every solver, estimator, graph and loss must hold, yours included.

The first check of each is whether a call returns what it must. It is tried when the suite is made; where it fails the
suite holds nothing else.

```python
@pytest.mark.parametrize("check", solver_checks(MySolver()), ids=lambda check: check.name)
def test_solver(check):
    check()
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..compatibility import order_of
from ..differentiation import Estimator, Solver, differentiable
from ..solvers import Lap
from .criteria import CRITERION_CHECKS, MATCHING_LOSS_CHECKS
from .estimators import ESTIMATOR_CHECKS, SCALE_CHECKS, the_matching_is_a_constant
from .graphs import GRAPH_CHECKS, Graph
from .losses import LOSS_CHECKS
from .solvers import (
    CENTRED_CHECKS,
    EXACT_CHECKS,
    FIRST_ORDER_CHECKS,
    SCALE_FREE_CHECKS,
    SECOND_ORDER_CHECKS,
    SOLVER_CHECKS,
)


@dataclass(frozen=True)
class Check:
    """One property of one component: call it; it raises AssertionError with a sentence where the property fails.

    Args:
        name: Of the property, in words: what a test report shows.
        run: What looks.
        arguments: Input of the check.

    Example:
        >>> from graphalign import Lap
        >>> from graphalign.testing import solver_checks
        >>> check = solver_checks(Lap())[0]
        >>> check.name
        'it_returns_a_solution'
        >>> check()
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]

    def __call__(self) -> None:
        """Looks; raises AssertionError with a sentence where the property does not hold."""
        self.run(*self.arguments)


def solver_checks(solver: Solver) -> list[Check]:
    """Return the checks of a solver, small ones; by its `order` and `exact` it gets those for edges and optimality.

    Args:
        solver: Any callable `Problem -> Solution`. One that compares scores of different rows says `centred = False`.

    Example:
        >>> from graphalign import Lap
        >>> from graphalign.testing import solver_checks
        >>> checks = solver_checks(Lap())
        >>> [check.name for check in checks][-2:]
        ['constants_of_nodes_change_nothing', 'no_matching_is_better']
        >>> for check in checks:
        ...     check()
    """
    checks = list(SOLVER_CHECKS)
    checks += SECOND_ORDER_CHECKS if order_of(solver) == 2 else FIRST_ORDER_CHECKS
    if not getattr(solver, "differentiable", False):
        checks += SCALE_FREE_CHECKS
    if getattr(solver, "centred", True):
        checks += CENTRED_CHECKS
    if getattr(solver, "exact", False):
        checks += EXACT_CHECKS
    return _suite(checks, solver)


def estimator_checks(estimator: Estimator, solver: Solver | None = None) -> list[Check]:
    """Return the checks of an estimator together with a solver that it fits (by default `Lap()`).

    With a second-order solver the problems have edges. The checks for the scale of the gradient are left out for an
    estimator with `normalize=False`, whose published rule does not hold them. One with `gives_gradient = False` must be
    a constant instead.

    Args:
        estimator: With `apply(solver, problem, generator)`.
        solver: The solver that the check runs.

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
        return _suite([the_matching_is_a_constant], match)
    checks = list(ESTIMATOR_CHECKS)
    if getattr(estimator, "normalize", True):
        checks += SCALE_CHECKS
    return _suite(checks, match)


def graph_checks(graph: Graph) -> list[Check]:
    """Return the checks of a graph: its edges come from the features of real nodes alone, in a batch as in a loop.

    Args:
        graph: Any callable `(x, mask=None) -> ModalityGraph`, with features `(*b, n, d)` and a bool mask `(*b, n)`.

    Example:
        >>> from graphalign import KNN
        >>> from graphalign.testing import graph_checks
        >>> checks = graph_checks(KNN(k=2))
        >>> [check.name for check in checks][-2:]
        ['padding_is_as_if_absent', 'graphs_are_aligned']
        >>> for check in checks:
        ...     check()
    """
    return _suite(GRAPH_CHECKS, graph)


def loss_checks(loss: Any, *, width: int = 6) -> list[Check]:
    """Return the checks of a loss over modalities, or of a criterion, which is a loss of one matching.

    What has an attribute `reads_tokens` counts as a loss over modalities: `loss(features, masks=..., groups=...,
    generator=...)` with an `AlignmentOutput`, and `evaluate`. Anything with `on_matchings` counts as a loss of a
    matching, called as `loss(matching, target)`. All else counts as a criterion: a dataclass with a field `solver`,
    called as `criterion(problem, target, generator=...)`.

    Args:
        loss: Such as `InfoNCE()` or `FenchelYoung()`.
        width: Of the features that it is tried on, where it has weights that need one width; without meaning for a
            criterion.

    Example:
        >>> from graphalign import FenchelYoung, InfoNCE
        >>> from graphalign.testing import loss_checks
        >>> [check.name for check in loss_checks(FenchelYoung())][-1]
        'alignment_takes_it'
        >>> for check in loss_checks(InfoNCE()):
        ...     check()
    """
    if hasattr(loss, "on_matchings"):
        return _suite(MATCHING_LOSS_CHECKS, loss)
    if not hasattr(loss, "reads_tokens"):
        return _suite(CRITERION_CHECKS, loss)
    return _suite(LOSS_CHECKS, loss, width)


def _suite(checks: Sequence[Callable[..., None]], *arguments: Any) -> list[Check]:
    """The checks; the first alone where it fails, as that is the reason for which the others would fail too."""
    first, *others = (Check(check.__name__, check, arguments) for check in checks)
    try:
        first()
    except Exception:  # whatever somebody's component raises; it is raised again where the check is called
        return [first]
    return [first, *others]
