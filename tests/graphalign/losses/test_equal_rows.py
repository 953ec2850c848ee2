"""Rows that are equal in all modalities: what `groups` changes, the value, the gradient, or neither."""

import pytest
import torch
from draws import normal

from graphalign import (
    PLOT,
    VLAP,
    AlignmentLoss,
    Blackbox,
    FenchelYoung,
    Implicit,
    InfoNCE,
    Lap,
    SigLIP,
    Sinkhorn,
    SPOPlus,
    differentiable,
)

GROUPS = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0, 3])


def relaxed(criterion):
    return AlignmentLoss(differentiable(Sinkhorn(tau=0.3, max_iter=5000, tol=1e-12), Implicit()), criterion=criterion)


# loss -> whether the value changes, whether the gradient does
MEASURED = {
    "infonce": (InfoNCE, False, False),
    "plot": (PLOT, False, False),
    "vlap": (lambda: VLAP(prototypes=normal(9, 6, seed=5)), False, False),
    "imle": (AlignmentLoss, True, False),
    "blackbox": (lambda: AlignmentLoss(differentiable(Lap(), Blackbox())), True, False),
    "fenchel_young": (lambda: AlignmentLoss(criterion=FenchelYoung()), True, False),
    "relaxed, cross_entropy": (lambda: relaxed("cross_entropy"), True, False),
    "relaxed, hamming": (lambda: relaxed("hamming"), True, True),
    "relaxed, mae": (lambda: relaxed("mae"), True, True),
    "infonce, mae": (lambda: InfoNCE(criterion="mae"), True, True),
    "infonce, gce": (lambda: InfoNCE(criterion="gce"), True, True),
    "siglip": (SigLIP, True, True),
    "spo_plus": (lambda: AlignmentLoss(criterion=SPOPlus()), True, True),
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_groups_change(name):
    make, value, gradient = MEASURED[name]
    found = []
    for groups in (None, GROUPS):
        names = ("image", "answer", "caption")
        views = {view: normal(8, 6, seed=k)[GROUPS].requires_grad_() for k, view in enumerate(names)}
        loss = make()(views, groups=groups, generator=torch.Generator().manual_seed(1)).loss
        found.append((loss.detach(), torch.cat(torch.autograd.grad(loss, list(views.values())))))
    (plain, before), (grouped, after) = found
    assert (abs(plain - grouped) > 1e-3) == value
    assert (float((before - after).norm() / before.norm()) > 1e-4) == gradient
    if gradient:  # the direction hardly does
        assert torch.cosine_similarity(before.flatten(), after.flatten(), dim=0) > 0.8
