"""Samples that lack a modality: the loss and its gradient are those of sub-batches made by hand."""

import pytest
import torch
from draws import normal

from graphalign import (
    IMLE,
    PLOT,
    VLAP,
    AlignmentLoss,
    FenchelYoung,
    Implicit,
    InfoNCE,
    Lap,
    MessagePassing,
    PerModality,
    SigLIP,
    Sinkhorn,
    differentiable,
)

HERE = torch.tensor([True, False, True, True, False, True, False, True, True])
ANSWERED = torch.tensor([True, True, False, True, True, True, False, True, True])
LOSSES = {
    "imle": lambda: AlignmentLoss(differentiable(Lap(), IMLE(samples=3))),
    "implicit": lambda: AlignmentLoss(differentiable(Sinkhorn(tau=0.3), Implicit()), criterion="cross_entropy"),
    "pairwise": lambda: AlignmentLoss(differentiable(Sinkhorn(tau=0.3), Implicit()), barycenter="pairwise"),
    "mean": lambda: AlignmentLoss(differentiable(Sinkhorn(tau=0.3), Implicit()), barycenter="mean", normalize=True),
    "fenchel_young": lambda: AlignmentLoss(criterion=FenchelYoung()),
    "infonce": InfoNCE,
    "siglip": SigLIP,
    "plot": PLOT,
    "vlap": lambda: VLAP(prototypes=normal(9, 6, seed=5)),
}


def draws():
    return torch.Generator().manual_seed(3)


def leaves(count=3, n=9):
    return {
        name: normal(n, 6, seed=k).requires_grad_() for k, name in enumerate(("image", "answer", "caption")[:count])
    }


def gradients(loss, views):
    return dict(zip(views, torch.autograd.grad(loss, list(views.values()), materialize_grads=True), strict=True))


def rows(views, names, there):
    return {name: views[name][there] for name in names}


@pytest.mark.parametrize("name", LOSSES)
def test_two_modalities_are_a_batch_of_the_samples_that_have_both(name):
    views, loss, groups = leaves(2), LOSSES[name](), torch.tensor([0, 1, 2, 0, 4, 5, 6, 7, 8])
    for given in (None, groups):
        out = loss(views, present={"answer": HERE}, groups=given, generator=draws())
        part = rows(views, views, HERE)
        hand = loss(part, groups=None if given is None else given[HERE], generator=draws())
        assert out.loss.dtype == torch.float64
        assert out.loss == hand.loss
        found, expected = gradients(out.loss, views), gradients(hand.loss, views)
        for view in views:
            assert torch.equal(found[view], expected[view])
            assert (found[view][~HERE] == 0).all()
            assert (found[view][HERE] != 0).any()
        assert out.accuracy == hand.accuracy
        assert out.missing == {"image": 0, "answer": 3}


@pytest.mark.parametrize("name", ["infonce", "siglip", "plot", "vlap", "pairwise"])
def test_three_modalities_are_the_mean_over_their_pairs(name):
    views, loss = leaves(), LOSSES[name]()
    out = loss(views, present={"caption": HERE, "answer": ANSWERED}, generator=draws())
    pairs = [
        (("image", "answer"), ANSWERED),
        (("image", "caption"), HERE),
        (("answer", "caption"), HERE & ANSWERED),
    ]
    hand = torch.stack([loss(rows(views, names, there)).loss for names, there in pairs]).mean()
    torch.testing.assert_close(out.loss, hand, rtol=1e-12, atol=0)
    found, expected = gradients(out.loss, views), gradients(hand, views)
    for view in views:
        torch.testing.assert_close(found[view], expected[view], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["implicit", "mean"])
def test_a_barycenter_averages_what_is_there(name):
    views, loss = leaves(), LOSSES[name]()
    there = {"image": torch.ones(9, dtype=torch.bool), "answer": ANSWERED, "caption": HERE}
    out = loss(views, present={"caption": HERE, "answer": ANSWERED})
    count = sum(mask.double() for mask in there.values())
    kept = {
        view: there[view][:, None] * (torch.nn.functional.normalize(x) if name == "mean" else x)
        for view, x in views.items()
    }
    single, parts = AlignmentLoss(loss.match, barycenter="pairwise", criterion=loss.criterion), []
    for view in views:
        own = torch.zeros(9, 6).double() if name == "mean" else kept[view]
        number = count if name == "mean" else count - there[view].double()
        center = (sum(kept.values()) - own) / number.clamp_min(1)[:, None]
        usable = there[view] & (count > 1)
        parts.append(single({"x": kept[view][usable], "center": center[usable]}).loss)
    hand = torch.stack(parts).mean()
    torch.testing.assert_close(out.loss, hand, rtol=1e-12, atol=0)
    found, expected = gradients(out.loss, views), gradients(hand, views)
    for view in views:
        torch.testing.assert_close(found[view], expected[view], rtol=1e-9, atol=1e-12)
        assert (found[view][~there[view]] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_missing_is_the_plain_loss_to_the_digit(name):
    views, loss = leaves(), LOSSES[name]()
    out = loss(views, present={"caption": torch.ones(9, dtype=torch.bool)}, generator=draws())
    assert out.loss == loss(views, generator=draws()).loss
    assert out.missing == {"image": 0, "answer": 0, "caption": 0}
    assert loss(views, generator=draws()).missing is None


@pytest.mark.parametrize("name", ["imle", "infonce", "plot"])
def test_absent_rows_may_hold_anything_and_no_token(name):
    views, loss = leaves(2), LOSSES[name]()
    broken = {"image": views["image"][:, None], "answer": views["answer"][:, None].repeat(1, 2, 1)}
    masks = {"answer": HERE[:, None].repeat(1, 2)}
    clean = loss(
        broken, masks={"answer": torch.ones(9, 2, dtype=torch.bool)}, present={"answer": HERE}, generator=draws()
    )
    broken["answer"] = torch.where(HERE[:, None, None], broken["answer"], torch.nan)
    out = loss(broken, masks=masks, present={"answer": HERE}, generator=draws())
    assert out.loss == clean.loss
    assert all(x.isfinite().all() for x in gradients(out.loss, views).values())


@pytest.mark.parametrize("name", LOSSES)
def test_without_a_shared_sample_the_loss_is_zero_and_so_is_its_gradient(name):
    views = leaves(2)
    out = LOSSES[name]()(views, present={"image": HERE, "answer": ~HERE}, generator=draws())
    assert out.loss == 0
    assert out.accuracy.isnan()
    assert all((x == 0).all() for x in gradients(out.loss, views).values())
    assert out.missing == {"image": 3, "answer": 6}


def test_matchings_have_their_places_in_the_whole_batch():
    views = {name: torch.eye(9, 12).double() for name in ("image", "answer", "caption")}
    out = AlignmentLoss().evaluate(views, present={"caption": HERE})
    for name, found in out.matchings.items():
        assert torch.equal(found, torch.diag((HERE if "caption" in name else torch.ones(9)).double())), name
    assert out.accuracy == 1
    assert out.unmatched == 0


def test_weights_by_name_are_those_of_the_modality():
    views = leaves()
    same = MessagePassing(6).double()
    torch.manual_seed(1)
    encoder = PerModality(
        {**dict.fromkeys(("image", "answer", "barycenter"), same), "caption": MessagePassing(6).double()}
    )
    loss = AlignmentLoss(differentiable(Sinkhorn(tau=0.3), Implicit()), encoder=encoder)
    out = loss(views, present={"caption": HERE})
    found = torch.autograd.grad(out.loss, list(encoder.parameters()))
    assert all((x != 0).any() for x in found)


@pytest.mark.parametrize(
    ("present", "error", "sentence"),
    [
        ([HERE], TypeError, "`present` must be named by modalities"),
        ({"sound": HERE}, ValueError, "'sound', which is not a modality; there are image, answer"),
        ({"answer": HERE.float()}, TypeError, "must be boolean.*float32"),
        ({"answer": HERE[:4]}, ValueError, r"one entry for each of the 9 samples; got \(4,\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(present, error, sentence):
    with pytest.raises(error, match=sentence):
        InfoNCE()(leaves(2), present=present)
    with pytest.raises(ValueError, match="one label for each of the 9 samples"):
        InfoNCE()(leaves(2), present={"answer": HERE}, groups=torch.zeros(10, dtype=torch.long))
