"""Criteria of the alignment loss beside the Hamming distance."""

import itertools
import math

import pytest
import torch

from graphalign import (
    FAQ,
    IMLE,
    AlignmentLoss,
    FenchelYoung,
    Implicit,
    InfoNCE,
    Lap,
    NodeEdge,
    Normal,
    Problem,
    Sinkhorn,
    SPOPlus,
    build,
    cross_entropy,
    differentiable,
)
from graphalign.losses.structured import judge, judge_without_noise

EYE = torch.eye(4, dtype=torch.float64)
GROUPS = torch.tensor([0, 1, 0, 2])


def _gen(seed=0):
    return torch.Generator().manual_seed(seed)


def _scores(seed=0):
    return torch.randn(4, 4, generator=_gen(seed), dtype=torch.float64)


def _views(n=6):
    generator = _gen()
    return {name: torch.randn(n, 5, generator=generator).requires_grad_() for name in ("image", "answer", "caption")}


def test_cross_entropy_is_the_logarithm_of_the_groups_mass():
    x = torch.softmax(_scores(), -1)
    target = (GROUPS[:, None] == GROUPS).double()
    expected = -sum(math.log(sum(float(x[i, j]) for j in range(4) if GROUPS[i] == GROUPS[j])) for i in range(4)) / 4
    assert cross_entropy(x, target).item() == pytest.approx(expected, abs=1e-5)
    assert cross_entropy(EYE, EYE) == 0


def test_cross_entropy_stays_finite_without_mass():
    x = EYE.roll(1, 0).clone().requires_grad_()
    loss = cross_entropy(x, EYE)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1 + 1e6))
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("criterion", [FenchelYoung(noise=Normal(0.5), samples=3), SPOPlus(margin=0.7)], ids=repr)
def test_with_groups_the_best_correct_matching_of_each_draw_is_the_target(criterion):
    """Against enumeration, with the same noise."""
    scores, target = _scores(), (GROUPS[:, None] == GROUPS).double()
    losses, _ = judge(criterion, Problem(NodeEdge(scores)), target, _gen(3), True)
    every = [EYE[list(order)] for order in itertools.permutations(range(4))]
    correct = [x for x in every if (x * target).sum() == 4]
    assert len(correct) == 2
    if isinstance(criterion, FenchelYoung):
        noisy = criterion.noise.sample(NodeEdge(scores), 3, _gen(3)).node + scores
        expected = [max((s * x).sum() for x in every) - max((s * x).sum() for x in correct) for s in noisy]
    else:
        moved = 2 * scores - 0.7 * target
        expected = [max((moved * x).sum() for x in every) - max((moved * x).sum() for x in correct)]
    assert losses.item() == pytest.approx(float(sum(expected) / len(expected)))


@pytest.mark.parametrize("criterion", [FenchelYoung(), SPOPlus()], ids=repr)
def test_groups_of_one_change_nothing(criterion):
    problem = Problem(NodeEdge(_scores()))
    alone, found = judge(criterion, problem, EYE, _gen(), False)
    grouped, again = judge(criterion, problem, EYE, _gen(), True)
    torch.testing.assert_close(alone, grouped)
    torch.testing.assert_close(alone, criterion(problem, EYE, generator=_gen()))
    assert torch.equal(found.matching, again.matching)


def test_the_matching_is_what_the_criterion_solved():
    scores = _scores()
    problem = Problem(NodeEdge(scores.requires_grad_()))
    losses, found = judge(FenchelYoung(samples=5), problem, EYE, _gen(), False)
    (gradient,) = torch.autograd.grad(losses, scores)
    torch.testing.assert_close(found.matching - EYE, gradient)
    losses, found = judge(SPOPlus(), problem, EYE, _gen(), False)
    (gradient,) = torch.autograd.grad(losses, scores)
    torch.testing.assert_close(2 * (found.matching - EYE), gradient)
    _, plain = judge_without_noise(FenchelYoung(), problem, EYE, False)
    assert torch.equal(plain.matching, Lap()(problem).matching)


CRITERIA = {
    "hamming": {},
    "cross_entropy": {"match": differentiable(Sinkhorn(tau=0.5), Implicit()), "criterion": "cross_entropy"},
    "fenchel_young": {"criterion": FenchelYoung()},
    "fenchel_young of edges": {"criterion": FenchelYoung(solver=FAQ())},
    "spo_plus": {"criterion": "spo_plus(margin=0.5)"},
}


@pytest.mark.parametrize("options", CRITERIA.values(), ids=CRITERIA)
@pytest.mark.parametrize("barycenter", ["mean", "leave_one_out", "pairwise"])
@pytest.mark.parametrize("groups", [None, torch.tensor([0, 0, 1, 2, 3, 4])], ids=["alone", "groups"])
def test_every_criterion_gives_every_modality_a_gradient(options, barycenter, groups):
    views, loss = _views(), AlignmentLoss(barycenter=barycenter, **options)
    out = loss(views, groups=groups, generator=_gen())
    out.loss.backward()
    assert out.loss > 0
    assert all(x.grad.isfinite().all() and x.grad.abs().sum() > 0 for x in views.values())
    assert 0 <= out.accuracy <= 1
    assert not loss.evaluate(views, groups=groups).loss.requires_grad


def test_a_correct_matching_costs_nothing_inside_its_group():
    points = torch.eye(6)
    swapped = {"image": points, "text": points[[1, 0, 2, 3, 4, 5]]}
    groups = torch.tensor([0, 0, 1, 2, 3, 4])
    loss = AlignmentLoss(criterion=FenchelYoung(), barycenter="pairwise")
    assert loss.evaluate(swapped, groups=groups).loss.item() == pytest.approx(0, abs=1e-6)
    assert loss.evaluate(swapped).loss.item() > 1
    assert loss.evaluate(swapped, groups=groups).accuracy == 1


def test_evaluate_needs_no_generator_and_touches_none():
    state = torch.get_rng_state()
    AlignmentLoss(criterion=FenchelYoung()).evaluate(_views(), groups=torch.zeros(6, dtype=torch.long))
    assert torch.equal(state, torch.get_rng_state())


def test_a_spec_names_the_criterion():
    assert AlignmentLoss(criterion="fenchel_young(samples=8)").criterion == FenchelYoung(samples=8)
    assert build("loss", "alignment(criterion=fenchel_young(samples=8))").criterion == FenchelYoung(samples=8)
    assert build("loss", "alignment(criterion='cross_entropy', barycenter='pairwise')").criterion == "cross_entropy"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"match": Lap()}, r"Lap\(.*\) is a bare one.*differentiable\(Lap"),
        ({"match": differentiable(Lap(), IMLE()), "criterion": FenchelYoung()}, "leave `match` out"),
        (
            {"criterion": "hammming"},
            "Did you mean 'hamming'. Known: hamming, cross_entropy, fenchel_young, gce, mae, spo_plus",
        ),
        ({"criterion": "fenchelyoung(sample=8)"}, "Did you mean 'samples'"),
        ({"criterion": torch.zeros(9, 9)}, r"not a tensor of the shape \(9, 9\)$"),
        ({"criterion": "infonce"}, "criterion must be hamming"),
        ({"criterion": InfoNCE()}, "criterion must be hamming"),
        ({"criterion": 3}, "criterion must be hamming"),
    ],
)
def test_what_does_not_fit_is_told_at_once(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        AlignmentLoss(**options)
