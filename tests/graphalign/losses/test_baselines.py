"""The losses over modalities under one call: against slow loops, and what all of them hold."""

import math
from itertools import combinations, permutations

import pytest
import torch
from draws import normal

from graphalign import PLOT, VLAP, AlignmentLoss, FenchelYoung, InfoNCE, SigLIP, build

NAMES = ("image", "answer", "caption", "sound")
GROUPS = torch.tensor([7, 1, 7, 2, 3])
WORDS = normal(9, 6, seed=5)
LOSSES = {
    "infonce": lambda: InfoNCE(temperature=0.3),
    "siglip": lambda: SigLIP(),
    "plot": lambda: PLOT(temperature=0.3, epsilon=0.4, plan_gradient=True, tol=1e-12, max_iter=5000),
    "vlap": lambda: VLAP(prototypes=WORDS),
    "alignment": lambda: AlignmentLoss(criterion=FenchelYoung()),
}
BASELINES = ["infonce", "siglip", "plot", "vlap"]


def _views(count=3, n=5, tokens=None, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, 6) if tokens is None else (n, tokens, 6)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for name in NAMES[:count]}


def _gen():
    return torch.Generator().manual_seed(1)


def _positives(groups, n):
    return [
        [j for j in range(n) if groups is None or groups[i] == groups[j]] if groups is not None else [i]
        for i in range(n)
    ]


def _cosine(x, y):
    return float(x @ y / (x.norm() * y.norm()))


def _contrast(similarity, n, groups, temperature):
    """The symmetric cross-entropy of CLIP, one logarithm at a time."""
    total, positives = 0.0, _positives(groups, n)
    for s in (similarity, lambda i, j: similarity(j, i)):
        for i in range(n):
            bottom = math.log(sum(math.exp(s(i, j) / temperature) for j in range(n)))
            total -= sum(s(i, j) / temperature - bottom for j in positives[i]) / len(positives[i])
    return total / (2 * n)


def _transport(x, y, epsilon):
    """Plain Sinkhorn on a kernel, in float64."""
    cosines = torch.tensor([[_cosine(a, b) for b in y] for a in x], dtype=torch.float64)
    kernel, v = (cosines / epsilon).exp(), torch.ones(len(y), dtype=torch.float64)
    for _ in range(20_000):
        u, before = 1 / len(x) / (kernel @ v), v
        v = 1 / len(y) / (kernel.mT @ u)
        if ((v - before).abs() < 1e-14 * v).all():
            break
    return float((u[:, None] * kernel * v * cosines).sum())


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "groups"])
def test_infonce_is_its_formula(count, groups):
    views = _views(count)
    expected = [
        _contrast(lambda i, j, a=a, b=b: _cosine(views[a][i], views[b][j]), 5, groups, 0.3)
        for a, b in combinations(views, 2)
    ]
    found = InfoNCE(temperature=0.3, learnable=False)(views, groups=groups)
    assert found.loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "groups"])
def test_siglip_is_its_formula(count, groups):
    views, positives, losses = _views(count), _positives(groups, 5), []
    for a, b in combinations(views, 2):
        for i in range(5):
            for j in range(5):
                sign = 1 if j in positives[i] else -1
                logit = 10 * _cosine(views[a][i], views[b][j]) - 10
                losses.append(math.log1p(math.exp(-sign * logit)) / 5)
    pairs = len(list(combinations(views, 2)))
    assert SigLIP(learnable=False)(views, groups=groups).loss.item() == pytest.approx(sum(losses) / pairs, rel=1e-12)


def test_siglip_starts_as_in_the_paper():
    loss = SigLIP()
    assert loss.log_scale.item() == pytest.approx(math.log(10))
    assert loss.offset.item() == -10


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "groups"])
def test_plot_is_its_formula_and_padding_has_no_mass(groups):
    views = _views(3, tokens=4)
    lengths = {"image": [4] * 5, "answer": [1, 2, 3, 4, 2], "caption": [3, 3, 1, 2, 4]}
    masks = {name: torch.arange(4) < torch.tensor(lengths[name])[:, None] for name in ("answer", "caption")}
    for name, mask in masks.items():
        views[name] = views[name].masked_fill(~mask[..., None], torch.nan)
    sets = {name: [views[name][i, : lengths[name][i]] for i in range(5)] for name in views}
    expected = [
        _contrast(lambda i, j, a=a, b=b: _transport(sets[a][i], sets[b][j], 0.1), 5, groups, 0.3)
        for a, b in combinations(views, 2)
    ]
    loss = PLOT(temperature=0.3, learnable=False, tol=1e-12, max_iter=50_000)
    found = loss(views, masks=masks, groups=groups)
    # Both sides converge slowly where tokens hardly differ; a plan counts as converged at errors of 1e-6.
    assert found.loss.item() == pytest.approx(sum(expected) / 3, rel=1e-6)
    assert found.converged == 1


def test_plot_of_single_tokens_is_infonce():
    views = _views()
    assert torch.allclose(PLOT(0.3, learnable=False)(views).loss, InfoNCE(0.3, learnable=False)(views).loss)


def test_plot_in_chunks_is_the_same_with_its_gradient():
    gradients = []
    for chunk in (2**24, 1):
        views = {name: x.requires_grad_() for name, x in _views(tokens=3).items()}
        out = PLOT(chunk=chunk)(views)
        out.loss.backward()
        gradients.append([out.loss.detach(), *(x.grad for x in views.values())])
    for whole, part in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, part)


def test_the_plan_of_plot_is_a_constant_for_the_gradient_unless_asked():
    views = {name: x.requires_grad_() for name, x in _views(2, n=2, tokens=3).items()}
    (one, two), gradients = views.values(), {}
    for through in (False, True):
        loss = PLOT(0.3, learnable=False, tol=1e-13, max_iter=5000, plan_gradient=through)
        gradients[through] = torch.autograd.grad(loss(views).loss, one)[0]
    x, y = (torch.nn.functional.normalize(v, dim=-1) for v in (one, two))
    cosines = torch.einsum("ikd,jld->ijkl", x, y)
    u, v, kernel = torch.ones(()), torch.ones(2, 2, 3, dtype=torch.float64), (cosines.detach() / 0.1).exp()
    for _ in range(2000):
        u = 1 / 3 / (kernel * v[:, :, None]).sum(-1)
        v = 1 / 3 / (kernel * u[..., None]).sum(-2)
    logits = (u[..., None] * kernel * v[:, :, None] * cosines).sum((-2, -1)) / 0.3
    frozen = -(logits.log_softmax(0).trace() + logits.log_softmax(1).trace()) / 4
    torch.testing.assert_close(gradients[False], torch.autograd.grad(frozen, one)[0])
    assert not torch.allclose(gradients[False], gradients[True], atol=1e-3)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["alone", "groups"])
@pytest.mark.parametrize("frequencies", [None, torch.arange(1.0, 10.0)], ids=["equal", "frequencies"])
def test_vlap_is_its_formula(groups, frequencies):
    views, positives, losses = _views(), _positives(groups, 5), []
    masses = torch.ones(9) / 9 if frequencies is None else frequencies / frequencies.sum()
    predicted, assigned = {}, {}
    for name, x in views.items():
        cosines = torch.tensor([[_cosine(a, w) for w in WORDS] for a in x], dtype=torch.float64)
        predicted[name] = (cosines / 0.1).log_softmax(-1)
        plan = (cosines / 0.05).exp()
        for _ in range(3):
            plan = plan * (5 * masses.double() / plan.sum(0))
            plan = plan / plan.sum(1, keepdim=True)
        assigned[name] = plan
    for a, b in permutations(views, 2):
        for i in range(5):
            target = sum(assigned[b][j] for j in positives[i]) / len(positives[i])
            losses.append(-float((target * predicted[a][i]).sum()))
    loss = VLAP()
    loss.set_prototypes(WORDS, frequencies)
    assert loss(views, groups=groups).loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert not loss.state_dict()


def test_vlap_asks_for_prototypes_of_the_right_width():
    with pytest.raises(ValueError, match="needs prototypes"):
        build("loss", "vlap(prototypes=None)")(_views())
    with pytest.raises(ValueError, match="4 wide and the features 6"):
        VLAP(prototypes=torch.ones(3, 4))(_views())
    with pytest.raises(ValueError, match="frequencies need one number"):
        VLAP().set_prototypes(torch.ones(3, 4), torch.ones(2))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_modality_gets_a_gradient_in_any_precision(name, count):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        views = {key: x.requires_grad_() for key, x in _views(count, dtype=dtype).items()}
        loss = LOSSES[name]()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = loss(views, generator=_gen())
        out.loss.backward()
        assert out.loss.dtype == torch.promote_types(dtype, torch.float32)
        assert all(x.grad.isfinite().all() and x.grad.abs().sum() > 0 for x in views.values())
        assert all(p.grad.isfinite().all() and p.grad != 0 for p in loss.parameters())


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("groups", [None, GROUPS[:3]], ids=["alone", "groups"])
def test_gradients_are_those_of_finite_differences(name, groups):
    views, loss = _views(2, n=3, tokens=3), LOSSES[name]()
    if name == "vlap":
        # The assignments are constants for the gradient: those of other features stand still.
        fixed = loss._assign(loss._cosines(torch.stack([x.mean(1) for x in views.values()])))
        loss._assign = lambda cosines: fixed
    leaves = [x.requires_grad_() for x in views.values()]
    assert torch.autograd.gradcheck(lambda *x: loss(dict(zip(views, x, strict=True)), groups=groups).loss, leaves)


@pytest.mark.parametrize("name", LOSSES)
def test_samples_have_no_order(name):
    order, loss = torch.tensor([3, 0, 4, 1, 2]), LOSSES[name]()
    views = _views()
    out = loss.evaluate(views, groups=GROUPS)
    moved = loss.evaluate({key: x[order] for key, x in views.items()}, groups=GROUPS[order])
    torch.testing.assert_close(out.loss, moved.loss)
    for key, matching in out.matchings.items():
        assert torch.equal(matching[order][:, order], moved.matchings[key])


@pytest.mark.parametrize("name", LOSSES)
def test_duplicates_are_interchangeable(name):
    """Exchanging two samples of a group in one modality changes nothing; without the group it does.

    Barycenters are means of rows that stand side by side, so that of the alignment loss only the target knows groups.
    """
    views, loss = _views(), LOSSES[name]() if name != "alignment" else AlignmentLoss(barycenter="pairwise")
    swapped = {**views, "image": views["image"][[2, 1, 0, 3, 4]]}
    first, second = (loss.evaluate(v, groups=GROUPS) for v in (views, swapped))
    torch.testing.assert_close(first.loss, second.loss)
    assert first.accuracy == second.accuracy
    assert abs(loss.evaluate(views).loss - loss.evaluate(swapped).loss) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_one_sample_works_and_is_matched(name):
    views = {key: x.requires_grad_() for key, x in _views(n=1).items()}
    out = LOSSES[name]()(views, generator=_gen())
    out.loss.backward()
    assert out.loss.isfinite()
    assert out.accuracy == 1
    assert all(x.grad.isfinite().all() for x in views.values())


@pytest.mark.parametrize("name", BASELINES)
def test_accuracy_is_retrieval(name):
    points = torch.eye(6, dtype=torch.float64)[:5]
    out = LOSSES[name]().evaluate({"image": points, "text": points[[1, 0, 2, 3, 4]]})
    assert set(out.matchings) == {"image->text", "text->image"}
    assert all(torch.equal(m.sum(-1), torch.ones(5, dtype=m.dtype)) for m in out.matchings.values())
    if name != "vlap":
        assert out.accuracy.item() == pytest.approx(0.6)
        assert torch.equal(out.matchings["image->text"].argmax(-1), torch.tensor([1, 0, 2, 3, 4]))


@pytest.mark.parametrize("name", LOSSES)
def test_tokens_count_by_their_mean_or_as_a_set_without_padding(name):
    loss, tokens = LOSSES[name](), _views(tokens=3)
    padded = {key: torch.cat([x, x.new_full((5, 2, 6), torch.nan)], 1) for key, x in tokens.items()}
    masks = {key: (torch.arange(5) < 3).expand(5, 5) for key in tokens}
    out = loss(padded, masks=masks, generator=_gen())
    torch.testing.assert_close(out.loss, loss(tokens, generator=_gen()).loss)
    means = {key: x.mean(1) for key, x in tokens.items()}
    same = torch.isclose(out.loss, loss(means, generator=_gen()).loss)
    assert bool(same) != loss.reads_tokens


@pytest.mark.parametrize("name", LOSSES)
def test_misfits_are_told(name):
    loss, tokens = LOSSES[name](), _views(2, tokens=3)
    none = torch.zeros(5, 3, dtype=torch.bool)
    for views, masks, error, sentence in (
        ({"image": torch.ones(3, 6)}, None, ValueError, "two or more modalities"),
        ({"image": torch.ones(3, 6), "text": torch.ones(4, 6)}, None, ValueError, "one shape"),
        (tokens, {"sound": none}, ValueError, "is not a modality"),
        (tokens, {"image": none}, ValueError, "without a real token"),
        (tokens, {"image": none.float()}, TypeError, "must be boolean"),
        (tokens, {"image": none[:, :2]}, ValueError, "needs the shape"),
    ):
        with pytest.raises(error, match=sentence):
            loss(views, masks=masks, generator=_gen())
    with pytest.raises(ValueError, match="one label for each"):
        loss(tokens, groups=torch.zeros(4), generator=_gen())


@pytest.mark.parametrize(
    "spec", ["infonce(temperature=0.2)", "siglip(bias=-5.0)", "plot(epsilon=0.2)", "vlap(max_iter=5)"]
)
def test_what_repr_prints_builds_the_same(spec):
    loss = build("loss", spec)
    again = build("loss", repr(loss))
    assert repr(again) == repr(loss)
    assert spec.partition("(")[2][:-1] in repr(loss)


@pytest.mark.parametrize("spec", ["infonce(temperature=0)", "siglip(bias='a')", "plot(chunk=0)", "vlap(epsilon=-1)"])
def test_arguments_are_checked(spec):
    with pytest.raises(ValueError, match="must be"):
        build("loss", spec)
