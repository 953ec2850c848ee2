"""Conformance suites: what every solver and every estimator must hold, yours included.

```python
@pytest.mark.parametrize("check", solver_checks(MySolver()), ids=lambda check: check.name)
def test_solver(check):
    check()
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..compatibility import order_of
from ..differentiable import Estimator, Solver, differentiable
from ..solvers import Lap
from .estimators import ESTIMATOR_CHECKS, SCALE_CHECKS, the_matching_is_a_constant
from .solvers import EXACT_CHECKS, FIRST_ORDER_CHECKS, SECOND_ORDER_CHECKS, SOLVER_CHECKS


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
