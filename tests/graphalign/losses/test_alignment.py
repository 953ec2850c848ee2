import pytest
import torch

import graphalign as ga
from graphalign import (
    FAQ,
    IMLE,
    KNN,
    AlignmentLoss,
    Blackbox,
    BruteForce,
    Cosine,
    Lap,
    MessagePassing,
    Sinkhorn,
    Unrolled,
    differentiable,
    hamming,
)


def _gen(seed=0):
    return torch.Generator().manual_seed(seed)


def _views(n=8, d=6, names=("image", "answer", "caption"), noise=1.0, seed=0):
    """Noisy copies of the same points."""
    generator = _gen(seed)
    points = torch.randn(n, d, generator=generator)
    return {name: points + noise * torch.randn(n, d, generator=generator) for name in names}


def _leaves(views):
    return {name: x.clone().requires_grad_() for name, x in views.items()}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("barycenter", ["mean", "leave_one_out", "pairwise"])
def test_any_number_of_modalities_in_both_directions_and_one_call(count, barycenter):
    calls = []

    def match(problem, generator=None):
        calls.append(problem.scores.node.shape)
        return Lap()(problem)

    names = list("abcde")[:count]
    out = AlignmentLoss(match, barycenter=barycenter)(_views(names=names))
    if barycenter == "pairwise":
        expected = {f"{i}->{j}" for i in names for j in names if i != j}
    else:
        expected = {f"{i}->barycenter" for i in names} | {f"barycenter->{i}" for i in names}
    assert set(out.matchings) == expected
    assert calls == [(len(expected), 8, 8)]


def test_the_loss_is_the_mean_over_the_named_matchings():
    views, eye = _views(noise=2.0), torch.eye(8)
    out = AlignmentLoss(differentiable(Lap(), Blackbox()), barycenter="mean")(views)
    center = torch.stack(list(views.values())).mean(0)
    losses = []
    for name, x in views.items():
        for first, second, key in ((x, center, f"{name}->barycenter"), (center, x, f"barycenter->{name}")):
            scores = torch.nn.functional.normalize(first, dim=-1) @ torch.nn.functional.normalize(second, dim=-1).mT
            gain = (out.matchings[key] * scores).sum()
            assert gain >= scores.trace() - 1e-5
            losses.append(hamming(out.matchings[key], eye))
    assert out.loss.item() == pytest.approx(torch.stack(losses).mean().item())
    assert out.loss.item() == pytest.approx(2 * (1 - out.accuracy.item()))


def test_a_barycenter_without_the_view_is_harder_than_one_with_it():
    views = _views(n=24, noise=2.0)
    accuracy = {b: AlignmentLoss(barycenter=b).evaluate(views).accuracy for b in ("mean", "leave_one_out")}
    assert accuracy["mean"] > accuracy["leave_one_out"] + 0.2


@pytest.mark.parametrize("solver", [Lap(), FAQ()], ids=repr)
@pytest.mark.parametrize("barycenter", ["mean", "leave_one_out", "pairwise"])
def test_every_modality_and_the_encoder_learn(solver, barycenter):
    torch.manual_seed(0)
    encoder = MessagePassing(6)
    loss = AlignmentLoss(differentiable(solver, IMLE()), barycenter=barycenter, encoder=encoder)
    views = _leaves(_views(noise=2.0))
    loss(views, generator=_gen()).loss.backward()
    for x in [*views.values(), *encoder.parameters()]:
        assert x.grad.isfinite().all()
    assert all(x.grad.abs().sum() > 0 for x in views.values())
    assert any(x.grad.abs().sum() > 0 for x in encoder.parameters())


def test_training_aligns():
    views = _leaves(_views(noise=2.0))
    loss, generator = AlignmentLoss(barycenter="leave_one_out"), _gen()
    optimiser = torch.optim.Adam(views.values(), lr=0.05)
    before = loss.evaluate(views).accuracy
    for _ in range(40):
        optimiser.zero_grad()
        loss(views, generator=generator).loss.backward()
        optimiser.step()
    after = loss.evaluate(views).accuracy
    assert before < 0.5
    assert after > 0.9


def test_second_order_solvers_get_edges_and_others_do_not():
    seen = {}

    def affinity(first, second, *, order):
        seen["order"], seen["edges"] = order, first.edge_index.shape
        return Cosine()(first, second, order=order)

    for solver, order in ((Lap(), 1), (FAQ(), 2)):
        AlignmentLoss(differentiable(solver, Blackbox()), affinity=affinity, graph=KNN(k=3))(_views())
        assert seen == {"order": order, "edges": (6, 2, 24)}


def test_interchangeable_samples_cost_nothing():
    views = _views(noise=0.0)
    for x in views.values():
        x[1] = x[0]
    groups = torch.tensor([5, 5, 1, 2, 3, 4, 6, 7])
    swapped = {**views, "image": views["image"][[1, 0, 2, 3, 4, 5, 6, 7]]}
    out = AlignmentLoss(differentiable(Lap(), Blackbox()))(swapped, groups=groups)
    assert out.loss == 0
    assert out.accuracy == 1


def test_the_noise_comes_from_the_generator_alone():
    loss, views = AlignmentLoss(), _views(noise=3.0)
    state = torch.get_rng_state()
    first, second, other = (loss(views, generator=_gen(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first.matchings[k], second.matchings[k]) for k in first.matchings)
    assert not all(torch.equal(first.matchings[k], other.matchings[k]) for k in first.matchings)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_out_as_float32(dtype):
    views = {name: x.to(dtype) for name, x in _views(noise=2.0).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = AlignmentLoss(encoder=None)(_leaves(views), generator=_gen())
    full = AlignmentLoss()({name: x.float() for name, x in views.items()}, generator=_gen())
    assert low.loss.dtype == torch.float32
    assert torch.equal(low.loss, full.loss)


def test_evaluate_draws_no_noise_and_keeps_no_graph():
    out = AlignmentLoss().evaluate(_leaves(_views(noise=0.0)))
    assert not out.loss.requires_grad
    assert out.accuracy == 1


def test_scaling_views_to_unit_length_balances_the_barycenter():
    views = _views(noise=0.5)
    views["image"] = views["image"] * 1000
    torch.manual_seed(0)
    noise = torch.randn(8, 6)
    views["caption"] = noise
    raw, unit = (AlignmentLoss(normalize=n).evaluate(views) for n in (False, True))
    image = "image->barycenter"
    assert raw.matchings[image].trace() == 8
    assert hamming(raw.matchings["caption->barycenter"], torch.eye(8)) >= hamming(
        unit.matchings["caption->barycenter"], torch.eye(8)
    )


def test_the_solvers_facts_are_handed_on():
    views = _views()
    out = AlignmentLoss(differentiable(Sinkhorn(tau=0.1), Unrolled()))(views)
    assert 0 <= out.converged <= 1
    assert out.residual >= 0
    assert AlignmentLoss(differentiable(Lap(), Blackbox()))(views).converged is None
    alone = AlignmentLoss(differentiable(Lap(), Blackbox()), unmatched=2.0)(views)
    assert alone.unmatched == 1


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_samples_work(n):
    for solver in (Lap(), FAQ(), BruteForce()):
        loss = AlignmentLoss(differentiable(solver, IMLE()), encoder=MessagePassing(6))
        out = loss(_leaves(_views(n=n)), generator=_gen())
        out.loss.backward()
        assert out.matchings["image->barycenter"].shape == (n, n)
        assert out.loss.isfinite()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({"image": torch.zeros(4, 3)}, "two or more modalities; got 1: image"),
        ({}, "got 0: none"),
        ({"image": torch.zeros(4, 3), "text": torch.zeros(5, 3)}, "one shape"),
        ({"image": torch.zeros(0, 3), "text": torch.zeros(0, 3)}, "at least one sample"),
        ({"image": torch.zeros(3), "text": torch.zeros(3)}, "one shape"),
    ],
)
def test_misfits_are_told(views, message):
    with pytest.raises(ValueError, match=message):
        AlignmentLoss()(views, generator=_gen())


def test_an_unknown_barycenter_is_told():
    with pytest.raises(ValueError, match="mean, leave_one_out or pairwise"):
        AlignmentLoss(barycenter="median")


@pytest.mark.parametrize("options", [{"encoder": "gin"}, {"unmatched": "no"}, {"unmatched": 10**400}, {"normalize": 1}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=f"AlignmentLoss: {next(iter(options))} must be"):
        AlignmentLoss(**options)


@pytest.mark.parametrize("name", ["hungarian", "lap", "greedy", "faq"])
@pytest.mark.parametrize("by_criterion", [False, True])
def test_ties_do_not_favour_the_right_pairs(name, by_criterion):
    """Where all samples are equal nothing is known, so accuracy is that of chance."""
    views, solver = {view: torch.ones(40, 8) for view in ("a", "b", "c")}, ga.build("solver", name)
    if by_criterion:
        loss = AlignmentLoss(criterion=ga.SPOPlus(solver))
    else:
        loss = AlignmentLoss(differentiable(solver, ga.Detached()))
    assert loss.evaluate(views).accuracy < 0.2
