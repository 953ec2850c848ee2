"""Bounded losses of the mass on correct partners, and training on pairs of which half are wrong."""

import math

import pytest
import torch
from draws import normal

from graphalign import (
    GCE,
    MAE,
    AlignmentLoss,
    Implicit,
    InfoNCE,
    Lap,
    NodeEdge,
    Problem,
    Sinkhorn,
    build,
    cross_entropy,
    differentiable,
    hamming,
    matching_accuracy,
)

GROUPS = torch.tensor([0, 1, 0, 2, 1])
TARGET = (GROUPS[:, None] == GROUPS).double()


def test_both_are_the_published_formulas():
    matching = normal(5, 5).softmax(-1)
    masses = [sum(float(matching[i, j]) for j in range(5) if GROUPS[i] == GROUPS[j]) for i in range(5)]
    assert MAE()(matching, TARGET).item() == pytest.approx(sum(1 - p for p in masses) / 5)
    for q in (0.3, 0.7, 1.0):
        expected = sum((1 - p**q) / q for p in masses) / 5
        assert GCE(q=q)(matching, TARGET).item() == pytest.approx(expected, abs=1e-5)


def test_the_ends_are_those_of_other_losses():
    matching, eye = normal(5, 5).softmax(-1), torch.eye(5).double()
    assert GCE(q=1e-9)(matching, eye).item() == pytest.approx(cross_entropy(matching, eye).item(), abs=1e-7)
    assert GCE(q=1.0)(matching, eye).item() == pytest.approx(MAE()(matching, eye).item())
    assert MAE()(matching, eye).item() == pytest.approx(hamming(matching, eye).item() / 2)
    assert MAE()(matching, eye).item() == pytest.approx((matching - eye).abs().sum(-1).mean().item() / 2)
    wrong = eye.roll(1, 0)
    assert MAE()(wrong, eye) == 1
    assert GCE(q=0.5)(wrong, eye).item() == pytest.approx(2, abs=3e-3)


@pytest.mark.parametrize("criterion", [MAE(), GCE(q=0.4)])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_infonce_with_one_is_its_mean_over_rows_and_columns(criterion, groups):
    views = {"image": normal(5, 6), "text": normal(5, 6, seed=1)}
    units = [torch.nn.functional.normalize(x) for x in views.values()]
    logits = units[0] @ units[1].T / 0.3
    target = torch.eye(5) if groups is None else TARGET
    expected = (criterion(logits.softmax(1), target) + criterion(logits.softmax(0).T, target)) / 2
    found = InfoNCE(temperature=0.3, learnable=False, criterion=criterion)(views, groups=groups).loss
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_pair_that_is_improbable_has_no_say_where_the_loss_is_bounded():
    """At a low temperature two swapped pairs are hopeless: the logarithm pulls at full force, the others let go."""
    pulls = {}
    for criterion in ("mae", "gce(q=0.5)", "cross_entropy"):
        x = torch.eye(2).double().requires_grad_()
        loss = InfoNCE(temperature=0.05, learnable=False, criterion=criterion)
        loss({"x": x, "y": torch.eye(2).double().roll(1, 0)}).loss.backward()
        pulls[criterion] = float(x.grad.norm())
    assert 0 < pulls["mae"] < pulls["gce(q=0.5)"] < 0.01
    assert pulls["cross_entropy"] > 10


def test_specs_build_and_print_what_was_built():
    for spec in ("infonce(criterion=mae)", "infonce(criterion='gce(q=0.5)')", "infonce(criterion=gce(q=0.5))"):
        loss = build("loss", spec)
        assert repr(build("loss", repr(loss))) == repr(loss)
    assert "GCE(q=0.5)" in repr(build("loss", "infonce(criterion='gce(q=0.5)')"))
    assert AlignmentLoss(criterion="mae").criterion == MAE()
    assert AlignmentLoss(criterion="gce(q=0.2)").criterion == build("loss", "alignment(criterion=gce(q=0.2))").criterion


@pytest.mark.parametrize("q", [0, -1, 1.5, math.nan])
def test_a_q_outside_of_its_range_is_refused(q):
    with pytest.raises(ValueError, match="GCE: q must be a number above 0 and at most 1"):
        GCE(q=q)


@pytest.mark.parametrize("criterion", ["fenchel_young", "hamming", 3, MAE, "mea"])
def test_infonce_refuses_other_criteria(criterion):
    with pytest.raises(ValueError, match=r"criterion must be cross_entropy, mae or gce|unknown loss"):
        InfoNCE(criterion=criterion)


def test_it_takes_the_place_of_the_hamming_distance():
    match = differentiable(Sinkhorn(tau=0.2), Implicit())
    views = {"image": normal(5, 6).requires_grad_(), "text": normal(5, 6, seed=1)}
    plain, other = AlignmentLoss(match)(views).loss, AlignmentLoss(match, criterion="mae")(views).loss
    assert other.item() == pytest.approx(plain.item() / 2, abs=1e-4)
    other.backward()
    assert views["image"].grad.abs().sum() > 0


def learnt(loss, wrong):
    """Share of 100 unseen rows whose partner is the nearest, after training linear maps on 200 pairs."""
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 12, generator=g)
    x, y = hidden @ torch.randn(12, 24, generator=g), hidden @ torch.randn(12, 18, generator=g)
    x, y = x + 0.3 * torch.randn(x.shape, generator=g), y + 0.3 * torch.randn(y.shape, generator=g)
    partner = torch.arange(200)
    partner[:wrong] = partner[:wrong].roll(1)
    torch.manual_seed(0)
    maps = [torch.nn.Linear(side.shape[1], 12, bias=False) for side in (x, y)]
    optimizer = torch.optim.AdamW([*maps[0].parameters(), *maps[1].parameters()], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss({"x": maps[0](x[:200]), "y": maps[1](y[:200][partner])}).loss.backward()
        optimizer.step()
    with torch.no_grad():
        units = [torch.nn.functional.normalize(part(side[200:])) for part, side in zip(maps, (x, y), strict=True)]
    found = Lap()(Problem(NodeEdge(units[0] @ units[1].T))).matching
    nearest = (units[0] @ units[1].T).argmax(1) == torch.arange(100)
    assert matching_accuracy(found) >= nearest.float().mean() - 0.05
    return float(nearest.float().mean())


def test_with_half_of_the_pairs_wrong_a_bounded_loss_learns_what_infonce_does_not():
    plain = {wrong: learnt(InfoNCE(temperature=0.1, learnable=False), wrong) for wrong in (0, 100)}
    bounded = {wrong: learnt(InfoNCE(temperature=0.1, learnable=False, criterion="mae"), wrong) for wrong in (0, 100)}
    assert bounded[100] > plain[100] + 0.1, (plain, bounded)
    assert bounded[0] > 0.9
