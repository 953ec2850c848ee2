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
# Few iterations and samples where each takes long: with second-order solvers, which take one problem after the other,
# the checks of an estimator solve some thousand problems.
QUICK = {
    "rrwm": "rrwm(max_iter=3, sk_iter=6)",
    "sm": "sm(max_iter=5)",
    "ipfp": "ipfp(max_iter=5)",
    "faq": "faq(steps=2, max_iter=5)",
    "fgw": "fgw(max_iter=3)",
}
FEW = {"aimle": "aimle(steps=3, samples=2)", "imle": "imle(samples=2)", "perturbed": "perturbed(samples=4)"}
PAIRS = [
    (solver, estimator)
    for solver, estimator in itertools.product(SOLVERS, ESTIMATORS + EXTRA)
    if refusal(build("solver", solver), build("estimator", estimator)) is None
]


def _estimator_checks(estimator, solver):
    quick = build("solver", QUICK.get(solver, solver))
    return estimator_checks(build("estimator", FEW.get(estimator, estimator) if solver in QUICK else estimator), quick)


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
            _estimator_checks(estimator, solver),
        )
        for solver, estimator in PAIRS
    ),
)
def test_estimator(check):
    check()


def test_every_estimator_fits_some_solver():
    assert {estimator for _, estimator in PAIRS} == {*ESTIMATORS, *EXTRA}
    assert {solver for solver, _ in PAIRS} == set(SOLVERS)
