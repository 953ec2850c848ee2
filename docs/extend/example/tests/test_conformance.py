"""Both parts hold graphalign's own checks, and are found by name."""

import pytest
from graphalign_bidding import Antithetic, Bidding

from graphalign import FAQ, build
from graphalign.testing import estimator_checks, solver_checks


@pytest.mark.parametrize("check", solver_checks(Bidding()), ids=lambda check: check.name)
def test_bidding(check):
    check()


@pytest.mark.parametrize("check", estimator_checks(Antithetic(), Bidding()), ids=lambda check: check.name)
def test_antithetic(check):
    check()


@pytest.mark.parametrize("check", estimator_checks(Antithetic(samples=2), FAQ()), ids=lambda check: check.name)
def test_antithetic_with_edges(check):
    check()


def test_names():
    assert build("solver", "bidding(eps=0.01)") == Bidding(eps=0.01)
    assert build("estimator", repr(Antithetic(samples=2))) == Antithetic(samples=2)
