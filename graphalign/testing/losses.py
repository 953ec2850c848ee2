"""Checks of losses over modalities: each is called with one and the width of the features it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..arguments import takes
from ..losses import AlignmentOutput
from .problems import generator, normal
from .require import require, require_a, require_close, require_made

NAMES = ("image", "report", "sound")
Loss = Callable[..., AlignmentOutput]


def random_views(*shape: int, count: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random features of some modalities, each with a gradient of its own; float32, as weights of a loss are."""
    named = zip(range(count), NAMES, strict=False)
    return {name: normal(*shape, seed=seed).to(dtype).requires_grad_() for seed, name in named}


def it_returns_an_output(loss: Any, width: int) -> None:
    """An `AlignmentOutput` from the call and from `evaluate`."""
    require_made(loss, "loss_checks")
    require(callable(getattr(loss, "evaluate", None)), "a loss over modalities has a method `evaluate`")
    sentence = (
        "a loss over modalities returns an AlignmentOutput; `retrieval` in graphalign.losses.contrastive makes one"
    )
    require_a(AlignmentOutput, loss(random_views(5, width), generator=generator()), sentence)
    require_a(AlignmentOutput, loss.evaluate(random_views(5, width)), sentence.replace("returns", "evaluates to"))


def every_modality_gets_a_gradient(loss: Loss, width: int) -> None:
    """Two and three modalities in float32 and bfloat16, inside of autocast; the loss is float32."""
    for dtype in (torch.float32, torch.bfloat16):
        for count in (2, 3):
            views = random_views(6, width, count=count, dtype=dtype)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = loss(views, generator=generator()).loss
            require(value.shape == (), f"the loss must be one number; it has the shape {tuple(value.shape)}")
            found = f"features in {dtype} give a loss in {value.dtype} inside of autocast"
            require(value.dtype == torch.float32, found)
            for name, grad in zip(views, _gradients(value, views.values()), strict=True):
                require(grad.isfinite().all(), f"the gradient of {name!r} is not finite")
                require(grad.abs().sum() > 0, f"{name!r} gets no gradient")


def matchings_are_told(loss: Loss, width: int) -> None:
    """By names as `image->report`, as `(n, n)` without a gradient, rows of at most one; the accuracy is a share."""
    out = loss(random_views(5, width), generator=generator())
    require(bool(out.matchings), "the output names no matching")
    for name, matching in out.matchings.items():
        require("->" in name, f"a matching must be named as 'image->report', not {name!r}")
        require(matching.shape == (5, 5), f"the matching {name!r} of 5 samples has the shape {tuple(matching.shape)}")
        require(not matching.requires_grad, f"the matching {name!r} has a gradient; detach it")
        require((matching.sum(-1) <= 1 + 1e-3).all(), f"a row of the matching {name!r} has more than one partner")
    require(0 <= out.accuracy <= 1, f"the accuracy must be a share, not {float(out.accuracy)}")


def samples_have_no_order(loss: Any, width: int) -> None:
    """Permuting the samples of all modalities, and their groups, changes no figure."""
    views, groups, order = random_views(5, width, count=3), torch.tensor([7, 1, 7, 2, 3]), torch.tensor([3, 0, 4, 1, 2])
    plain = loss.evaluate(views, groups=groups)
    moved = loss.evaluate({name: x[order] for name, x in views.items()}, groups=groups[order])
    require_close(moved.loss, plain.loss, "the loss depends on the order of the samples")
    for name, matching in plain.matchings.items():
        sentence = f"the matching {name!r} depends on the order of the samples"
        require_close(moved.matchings[name], matching[order][:, order], sentence)


def aligned_samples_cost_least(loss: Any, width: int) -> None:
    """Three nearly equal modalities lose less than three of which one has its samples in another order."""
    aligned, mixed = _aligned(width), _mixed(width)
    drawn = [float(loss(views, generator=generator()).loss.detach()) for views in (aligned, mixed)]
    plain = [float(loss.evaluate(views).loss) for views in (aligned, mixed)]
    for what, (found, missed) in (("the loss", drawn), ("evaluate's loss", plain)):
        figures = f"{found:.3g}, of mixed ones {missed:.3g}"
        require(found < missed, f"{what} of aligned modalities is {figures}: it must fall where they are aligned")


def groups_are_interchangeable(loss: Any, width: int) -> None:
    """Samples of one group are all matched correctly, and their loss is another; groups of one each are as none."""
    views, alone = random_views(5, width), torch.tensor([4, 0, 3, 1, 2])
    plain, single = loss.evaluate(views), loss.evaluate(views, groups=alone)
    require_close(single.loss, plain.loss, "Groups of one sample each change the loss")
    same = loss.evaluate(views, groups=torch.zeros(5, dtype=torch.long))
    require_close(same.accuracy, torch.ones_like(same.accuracy), "a partner of the same group counts as wrong")
    mixed = _mixed(width)
    parted, united = loss.evaluate(mixed).loss, loss.evaluate(mixed, groups=torch.zeros(5, dtype=torch.long)).loss
    require((parted - united).abs() > 1e-6, "the loss does not look at `groups`: wrong partners cost the same in one")


def padded_tokens_are_as_if_absent(loss: Any, width: int) -> None:
    """Whatever they hold; a loss with `reads_tokens = False` sees the mean of the real ones."""
    tokens = random_views(5, 3, width)
    padded = {name: torch.cat([x, x.new_full((5, 2, width), torch.nan)], 1) for name, x in tokens.items()}
    masks = {name: (torch.arange(5) < 3).expand(5, 5) for name in tokens}
    plain = loss.evaluate(tokens).loss
    require_close(loss.evaluate(padded, masks=masks).loss, plain, "Padded tokens change the loss")
    if not loss.reads_tokens:
        means = loss.evaluate({name: x.mean(1) for name, x in tokens.items()}).loss
        require_close(means, plain, "the loss of tokens is not that of their means; set reads_tokens = True")


def the_generator_is_the_only_source_of_noise(loss: Any, width: int) -> None:
    """Same generator state, same loss; `evaluate` draws nothing and has no gradient; the global state is not used."""
    views, before = random_views(5, width), torch.get_rng_state()
    first, second = (loss(views, generator=generator()).loss for _ in range(2))
    require(torch.equal(first, second), "the same generator gives another loss")
    one, two = (loss.evaluate(views).loss for _ in range(2))
    require(torch.equal(one, two), "evaluate draws noise")
    require(not one.requires_grad, "evaluate has a gradient")
    require(torch.equal(before, torch.get_rng_state()), "the global random state was used")


def one_sample_is_enough(loss: Loss, width: int) -> None:
    """As a last batch may hold no more: it has nobody else to be matched with, and a finite loss and gradient."""
    views = random_views(1, width)
    out = loss(views, generator=generator())
    require_close(out.accuracy, torch.ones_like(out.accuracy), "the only sample is not matched with itself")
    require(out.loss.isfinite(), "the loss of one sample is not finite")
    for grad in _gradients(out.loss, views.values()):
        require(grad.isfinite().all(), "the gradient of one sample is not finite")


def misfits_are_refused(loss: Loss, width: int) -> None:
    """One modality, different numbers of samples, a label too few: ValueError, not a number."""
    views, short = random_views(5, width), random_views(4, width)
    wrong: list[tuple[str, dict[str, Tensor], Tensor | None]] = [
        ("One modality", {"image": views["image"]}, None),
        ("Five images with four reports", {"image": views["image"], "report": short["report"]}, None),
        ("Five samples with four labels", views, torch.zeros(4, dtype=torch.long)),
    ]
    for what, given, groups in wrong:
        try:
            loss(given, groups=groups, generator=generator())
        except ValueError:
            continue
        raise AssertionError(f"{what}: that must be a ValueError")


def absent_samples_are_as_if_left_out(loss: Loss, width: int) -> None:
    """Where the call takes `present`: loss and gradient are those of the samples that are there, the rest is counted.

    Rows that are absent hold NaN, which must reach neither. With three modalities every one still gets a gradient.
    """
    if not takes(getattr(loss, "forward", loss), "features", present=""):
        return
    there = torch.tensor([True, False, True, True, False])
    views, few = (
        random_views(5, width),
        {n: x.detach()[there].requires_grad_() for n, x in random_views(5, width).items()},
    )
    with torch.no_grad():
        views["report"][~there] = torch.nan
    out, part = loss(views, present={"report": there}, generator=generator()), loss(few, generator=generator())
    require_close(out.loss.detach(), part.loss.detach(), "The loss is not that of the samples that are there.")
    for name, whole, own in zip(
        views, _gradients(out.loss, views.values()), _gradients(part.loss, few.values()), strict=True
    ):
        require(bool((whole[~there] == 0).all()), f"samples without a report give {name!r} a gradient")
        require_close(whole[there], own, f"The gradient of {name!r} is not that of the samples that are there.")
    require(out.missing == {"image": 0, "report": 2}, f"two reports are missing; `missing` says {out.missing}")
    three = random_views(5, width, count=3)
    for name, grad in zip(
        three,
        _gradients(loss(three, present={"sound": there}, generator=generator()).loss, three.values()),
        strict=True,
    ):
        require(grad.abs().sum() > 0, f"{name!r} gets no gradient where some samples lack another modality")


def _aligned(width: int) -> dict[str, Tensor]:
    """Three modalities that hardly differ."""
    return {name: normal(5, width).float() + 0.01 * x for name, x in random_views(5, width, count=3).items()}


def _mixed(width: int) -> dict[str, Tensor]:
    """The same, with the first one's samples in another order; the other two outvote it in a mean."""
    first, *others = _aligned(width).items()
    return dict([(first[0], first[1].roll(1, 0)), *others])


def _gradients(value: Tensor, leaves: Any) -> Sequence[Tensor]:
    """Gradients, zero where there is none."""
    require(value.requires_grad, "the loss has no gradient")
    return torch.autograd.grad(value, list(leaves), materialize_grads=True)


LOSS_CHECKS: tuple[Callable[[Any, int], None], ...] = (
    it_returns_an_output,
    every_modality_gets_a_gradient,
    matchings_are_told,
    aligned_samples_cost_least,
    samples_have_no_order,
    groups_are_interchangeable,
    padded_tokens_are_as_if_absent,
    the_generator_is_the_only_source_of_noise,
    one_sample_is_enough,
    misfits_are_refused,
    absent_samples_are_as_if_left_out,
)
