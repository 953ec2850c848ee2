"""Every check of losses and criteria finds the fault that it is there for."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from graphalign import MAE, FenchelYoung, InfoNCE, Lap, Normal
from graphalign.testing import loss_checks


class Wrong(InfoNCE):
    """A good loss of which `before` changes what goes in, and `after` what comes out."""

    def forward(self, features, *, masks=None, groups=None, present=None, generator=None):
        given = {"features": features, "masks": masks, "groups": groups, "present": present, "generator": generator}
        given = self.before(given)
        return self.after(super().forward(given.pop("features"), **given), features, groups)

    def before(self, given):
        return given

    def after(self, out, features, groups):
        return out


def before(change):
    return type("Before", (Wrong,), {"before": lambda self, given: change(given)})()


def after(change):
    return type("After", (Wrong,), {"after": lambda self, *given: change(*given)})()


def scaled(out, by):
    return replace(out, loss=out.loss * by)


def without_refusal(given):
    shortest = min(map(len, given["features"].values()))
    features = {name: x[:shortest] for name, x in given["features"].items()}
    return {
        **given,
        "features": features if len(features) > 1 else {**features, "again": next(iter(features.values()))},
    }


def detached(given):
    first, *others = given["features"]
    features = {first: given["features"][first].detach(), **{name: given["features"][name] for name in others}}
    return {**given, "features": features}


def drawn(given):
    return {**given, "features": {name: x + 0.1 * torch.rand_like(x) for name, x in given["features"].items()}}


def first_tokens(given):
    return {
        **given,
        "masks": None,
        "features": {n: x[:, 0] if x.dim() == 3 else x for n, x in given["features"].items()},
    }


def by_row(out, features, groups):
    return scaled(out, 1 + next(iter(features.values()))[0, 0].detach().abs())


def scalar(out, features, groups):
    return out.loss


def without_groups(out, features, groups):
    return replace(out, loss=InfoNCE()(features).loss)


FAULTS = {
    "it_returns_an_output": [after(scalar), InfoNCE],
    "every_modality_gets_a_gradient": [
        before(detached),
        after(lambda out, *_: replace(out, loss=out.loss.bfloat16())),
        after(lambda out, *_: replace(out, loss=out.loss.expand(3))),
        after(lambda out, *_: scaled(out, torch.nan)),
    ],
    "matchings_are_told": [
        after(lambda out, *_: replace(out, matchings={})),
        after(lambda out, *_: replace(out, matchings={"both": next(iter(out.matchings.values()))})),
        after(lambda out, *_: replace(out, matchings={"image->report": torch.ones(5, 5)})),
        after(lambda out, *_: replace(out, matchings={"image->report": torch.ones(5, 4)})),
        after(lambda out, *_: replace(out, matchings={"image->report": torch.eye(5).requires_grad_()})),
        after(lambda out, *_: replace(out, accuracy=torch.tensor(5.0))),
    ],
    "aligned_samples_cost_least": [
        after(lambda out, *_: scaled(out, -1)),
        after(lambda out, *_: scaled(out, -1 if not torch.is_grad_enabled() else 1)),
        after(lambda out, *_: scaled(out, 0)),
    ],
    "samples_have_no_order": [after(by_row)],
    "groups_are_interchangeable": [
        before(lambda given: {**given, "groups": None}),
        after(lambda out, features, groups: scaled(out, 1 if groups is None else 2)),
        after(without_groups),
    ],
    "padded_tokens_are_as_if_absent": [before(lambda given: {**given, "masks": None}), before(first_tokens)],
    "the_generator_is_the_only_source_of_noise": [before(drawn)],
    "one_sample_is_enough": [
        after(lambda out, features, groups: scaled(out, 1 / torch.tensor(len(out.matchings["image->report"]) - 1.0))),
        after(lambda out, *_: replace(out, accuracy=torch.zeros(()))),
    ],
    "misfits_are_refused": [before(without_refusal)],
    "absent_samples_are_as_if_left_out": [
        before(lambda given: {**given, "present": None}),
        after(lambda out, *_: replace(out, missing={"image": 0, "report": 0}) if out.missing else out),
        after(lambda out, features, groups: scaled(out, 2) if out.missing else out),
    ],
}


@dataclass(frozen=True)
class Off:
    """A good criterion with a fault."""

    solver: Any = Lap()  # noqa: RUF009  (it is frozen)
    change: Any = None
    inner: Any = FenchelYoung(noise=Normal(scale=0.2))  # noqa: RUF009

    def __call__(self, problem, target, *, generator=None):
        return self.change(replace(self.inner, solver=self.solver), problem, target, generator)


def lost(criterion, problem, target, generator):
    return criterion(problem, target, generator=generator).bfloat16()


def summed(criterion, problem, target, generator):
    return criterion(problem, target, generator=generator).sum()


def constant(criterion, problem, target, generator):
    return criterion(problem, target, generator=generator) * 0


def to_padding(criterion, problem, target, generator):
    return criterion(problem, target, generator=generator) + problem.scores.node.sum((-2, -1))


def upside_down(criterion, problem, target, generator):
    return -criterion(problem, target, generator=generator)


def of_its_own(criterion, problem, target, generator):
    return criterion(problem, target, generator=torch.default_generator)


def stubborn(criterion, problem, target, generator):
    return replace(criterion, solver=Lap())(problem, target, generator=generator)


def steep(criterion, problem, target, generator):
    node = problem.scores.node
    return criterion(problem, target, generator=generator) + (node - node.detach()).sqrt().sum((-2, -1))


def of_its_solution(criterion, problem, target, generator):
    return criterion.solver(problem)


CRITERION_FAULTS = {
    "it_is_a_criterion": [of_its_solution],
    "every_problem_has_a_loss": [lost, summed],
    "scores_get_a_gradient": [constant, to_padding],
    "the_target_costs_least": [upside_down, constant],
    "noise_comes_from_the_generator": [of_its_own],
    "the_solver_is_a_field": [stubborn],
    "alignment_takes_it": [steep],
}


@dataclass(frozen=True)
class OffMatching:
    """A good loss of a matching with a fault."""

    change: Any
    on_matchings = True

    def __call__(self, matching, target):
        return self.change(MAE()(matching, target), matching, target)


MATCHING_LOSS_FAULTS = {
    "it_gives_a_number_for_each_matching": [
        lambda loss, *_: loss.sum(),
        lambda loss, *_: loss.float(),
        lambda loss, *_: loss.tolist(),
    ],
    "correct_matchings_cost_nothing": [lambda loss, *_: loss + 1, lambda loss, *_: -loss],
    "correct_pairs_get_a_gradient": [lambda loss, *_: -loss, lambda loss, matching, _: loss + 0 * matching.log().sum()],
    "interchangeable_partners_share_their_mass": [
        lambda loss, matching, target: loss + (matching[..., 0, :] * torch.arange(5.0)).sum(-1)
    ],
}


def named(loss, name):
    (check,) = (check for check in loss_checks(loss) if check.name == name)
    return check


@pytest.mark.parametrize(("name", "loss"), [(name, loss) for name, losses in FAULTS.items() for loss in losses])
def test_a_fault_of_a_loss_is_found(name, loss):
    with pytest.raises(AssertionError):
        named(loss, name)()


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in CRITERION_FAULTS.items() for change in changes]
)
def test_a_fault_of_a_criterion_is_found(name, change):
    with pytest.raises(AssertionError):
        named(Off(change=change), name)()


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in MATCHING_LOSS_FAULTS.items() for change in changes]
)
def test_a_fault_of_a_loss_of_a_matching_is_found(name, change):
    checks = {check.name: check for check in loss_checks(OffMatching(change))}
    with pytest.raises(AssertionError):
        checks.get(name, next(iter(checks.values())))()


class Unsaid(torch.nn.Module):
    """A loss over modalities that forgot `reads_tokens`."""

    def forward(self, features, *, masks=None, groups=None, generator=None):
        return InfoNCE()(features, groups=groups)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Unsaid(), "Unsaid is a module without `reads_tokens`"),
        (FenchelYoung, r"FenchelYoung is a class; give what it makes, loss_checks\(FenchelYoung\(\)\)"),
        (lambda problem, target, *, generator=None: 0, "must be a dataclass with a field `solver`"),
        (after(scalar), "returns an AlignmentOutput.*this one gives a Tensor"),
    ],
)
def test_what_is_no_loss_is_told_once(loss, sentence):
    (check,) = loss_checks(loss)
    with pytest.raises(AssertionError, match=sentence):
        check()


def test_every_check_is_known_to_fail():
    assert list(FAULTS) == [check.name for check in loss_checks(InfoNCE())]
    assert list(MATCHING_LOSS_FAULTS) == [check.name for check in loss_checks(MAE())]
    assert list(CRITERION_FAULTS) == [check.name for check in loss_checks(FenchelYoung())]


def test_a_loss_whose_weights_have_a_width_is_tried_on_it():
    class Weighted(InfoNCE):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(10, 4)

        def forward(self, features, **options):
            return super().forward({name: self.layer(x.float()) for name, x in features.items()}, **options)

    (check,) = (check for check in loss_checks(Weighted(), width=10) if check.name == "matchings_are_told")
    check()
