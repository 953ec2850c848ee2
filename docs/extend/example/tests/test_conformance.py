"""All parts hold graphalign's own checks, and are found by name."""

import pytest
import torch
from graphalign_example import Antithetic, Bidding, HardestNegative, Mutual

from graphalign import FAQ, build
from graphalign.testing import estimator_checks, graph_checks, loss_checks, solver_checks


@pytest.mark.parametrize("check", solver_checks(Bidding()), ids=lambda check: check.name)
def test_bidding(check):
    check()


@pytest.mark.parametrize("check", estimator_checks(Antithetic(), Bidding()), ids=lambda check: check.name)
def test_antithetic(check):
    check()


@pytest.mark.parametrize("check", estimator_checks(Antithetic(samples=2), FAQ()), ids=lambda check: check.name)
def test_antithetic_with_edges(check):
    check()


@pytest.mark.parametrize("check", graph_checks(Mutual(k=2)), ids=lambda check: check.name)
def test_mutual(check):
    check()


@pytest.mark.parametrize("check", loss_checks(HardestNegative()), ids=lambda check: check.name)
def test_hardest_negative(check):
    check()


def test_only_mutual_neighbours_are_joined():
    graph = Mutual(k=1)(torch.tensor([[0.0], [1.0], [5.0]]))
    assert graph.edge_index[:, graph.edge_mask].T.tolist() == [[1, 0], [0, 1]]


def test_the_hardest_negative_counts_alone():
    images = torch.eye(3)
    reports = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    out = HardestNegative(margin=0.5)({"image": images, "report": reports})
    # 0.6 is the hardest of the second image, which has 1.0, and of the third report, which has 0.8
    assert out.loss.item() == pytest.approx((0.1 / 3 + 0.3 / 3) / 2)
    assert out.accuracy == 1


def test_names():
    assert build("solver", "bidding(eps=0.01)") == Bidding(eps=0.01)
    assert build("estimator", repr(Antithetic(samples=2))) == Antithetic(samples=2)
    assert build("graph", "mutual(k=3)") == Mutual(k=3)
    assert repr(build("loss", repr(HardestNegative(margin=0.5)))) == "HardestNegative(margin=0.5)"
