"""Every registered solver, estimator, graph and loss holds the public conformance suites."""

import itertools

import pytest
import torch

from graphalign import VLAP, build, components, refusal
from graphalign.testing import estimator_checks, graph_checks, loss_checks, solver_checks

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
GRAPHS = [*sorted(components("graph")), "knn(k=2, metric='cosine')", "threshold(radius=2.0, max_neighbors=2)"]
# The one that needs something that no name can give.
GIVEN = {"vlap": VLAP(prototypes=torch.eye(6))}
LOSSES = [
    *sorted(components("loss")),
    "alignment(barycenter='pairwise', criterion='fenchel_young')",
    "infonce(criterion=mae)",
    "infonce(criterion=gce(q=0.5))",
]
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


@pytest.mark.parametrize("check", _parameters((name, graph_checks(build("graph", name))) for name in GRAPHS))
def test_graph(check):
    check()


@pytest.mark.parametrize(
    "check", _parameters((name, loss_checks(GIVEN.get(name) or build("loss", name))) for name in LOSSES)
)
def test_loss(check):
    check()


def test_every_estimator_fits_some_solver():
    assert {estimator for _, estimator in PAIRS} == {*ESTIMATORS, *EXTRA}
    assert {solver for solver, _ in PAIRS} == set(SOLVERS)
