"""Every registered solver and estimator holds the public conformance suites."""

import itertools

import pytest

from graphalign import build, components, refusal
from graphalign.testing import estimator_checks, solver_checks

SOLVERS = sorted(components("solver"))
ESTIMATORS = sorted(components("estimator"))
# A few samples only: the checks look at properties, not at variance.
EXTRA = [
    "imle(lam=20.0, noise=normal(0.1), samples=2, normalize=False)",
    "imle(noise=sum_of_gamma(k=4), samples=2)",
    "straight_through(surrogate=sinkhorn(tau=0.5))",
]
# Few iterations where each takes long; the checks of estimators solve some hundred problems.
QUICK = {"rrwm": "rrwm(max_iter=3, sk_iter=6)"}
PAIRS = [
    (solver, estimator)
    for solver, estimator in itertools.product(SOLVERS, ESTIMATORS + EXTRA)
    if refusal(build("solver", solver), build("estimator", estimator)) is None
]


def _parameters(suites):
    return [pytest.param(check, id=f"{name}-{check.name}") for name, checks in suites for check in checks]


@pytest.mark.parametrize("check", _parameters((name, solver_checks(build("solver", name))) for name in SOLVERS))
def test_solver(check):
    check()


@pytest.mark.parametrize(
    "check",
    _parameters(
        (
            f"{solver}-{estimator}",
            estimator_checks(build("estimator", estimator), build("solver", QUICK.get(solver, solver))),
        )
        for solver, estimator in PAIRS
    ),
)
def test_estimator(check):
    check()


def test_every_estimator_fits_some_solver():
    assert {estimator for _, estimator in PAIRS} == {*ESTIMATORS, *EXTRA}
    assert {solver for solver, _ in PAIRS} == set(SOLVERS)
