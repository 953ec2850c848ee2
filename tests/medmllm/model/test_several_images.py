"""Rows with 0, 1, 2 and 5 images: packed equals one by one, whatever the image views are."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.packing import pack
from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.model.aligned import AlignedLlava, Views, training_step
from medmllm.model.alignment import build_loss
from medmllm.model.assemble import assemble, image_tokens
from medmllm.model.packed import PackedLlava
from medmllm.settings.schema import AlignConfig, Config, LanguageConfig, ModelConfig, VisionConfig

RECORDS = [
    Record("none", "", (("Two and two?", "four"),), "It is four.", "A sum."),
    Record("one", "a", (("Which plane is it?", "axial"),), "It is axial.", "An axial slice of a liver."),
    Record("two", "b", (("Is  worse than ?", "yes"),), "Yes.", "Two films.", further=("c",), marks=((0, 3), (0, 15))),
    Record(
        "five",
        "d",
        (("Which is brightest?", "the third"), ("And now?", "the last")),
        "The third.",
        "Five slices.",
        further=tuple("efgh"),
        marks=((0, 0), (0, 0), (0, 0), (1, 0), (1, 0)),
    ),
]
VISION = VisionConfig(image_size=28, patch_size=14, hidden_size=16, layers=2, heads=2)
LANGUAGE = LanguageConfig(hidden_size=24, intermediate_size=32, layers=2, heads=2, vocab_size=320)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
ENCODER = Encoder(build_tokenizer(RECORDS, 320), image_tokens(VISION))


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def model(dtype):
    return assemble(ModelConfig(vision=VISION, language=LANGUAGE), ENCODER.tokenizer, seed=1).to(dtype).train()


def pixels(dtype):
    return torch.randn(8, 3, 28, 28, generator=torch.Generator().manual_seed(0), dtype=dtype)


def own_pixels(dtype):
    counts = [len(record.images) for record in RECORDS]
    return pixels(dtype).split(counts)


def separate(llava, nodes):
    """The same quantities from one stock pass per sequence, and views of the images themselves."""
    llava.model.language_model.config._attn_implementation = "sdpa"
    losses, views = {"answer": 0.0, "caption": 0.0}, {"image": [], "answer": [], "caption": []}
    for record, images in zip(RECORDS, own_pixels(llava.dtype), strict=True):
        shown = {"pixel_values": images} if len(images) else {}
        for name, sequence in (("answer", ENCODER.conversation(record)), ("caption", ENCODER.captioning(record))):
            logits = llava(input_ids=torch.tensor([sequence.ids]), **shown).logits[0]
            labels = torch.tensor(sequence.labels)
            losses[name] += F.cross_entropy(logits[:-1], labels[1:], reduction="sum", ignore_index=IGNORE)
        if not len(images):
            continue
        tokens = torch.stack(list(llava.model.get_image_features(images, return_dict=True).pooler_output))
        rows = {"mean": [tokens.flatten(0, 1).mean(0)], "first": [tokens[0].mean(0)], "each": list(tokens.mean(1))}
        views["image"] += rows[nodes]
        for name, text in (("answer", record.sentence), ("caption", record.caption)):
            hidden = llava.model.language_model(input_ids=torch.tensor([ENCODER.text(text).ids])).last_hidden_state
            views[name] += [hidden[0].mean(0)] * len(rows[nodes])
    return losses, {name: torch.stack(rows) for name, rows in views.items()}


def objective(answer, caption, views):
    """Some function that every loss and view enters."""
    weights = torch.linspace(-1, 2, views["image"].shape[1], dtype=views["image"].dtype)
    return answer + 0.5 * caption + sum((n + 1) * (v @ weights).tanh().sum() for n, v in enumerate(views.values()))


def gradients(llava):
    found = {name: p.grad.clone() for name, p in llava.named_parameters() if p.grad is not None}
    llava.zero_grad()
    return found


@pytest.mark.parametrize("nodes", ["mean", "first", "each"])
def test_packed_equals_one_by_one(dtype, nodes):
    llava = model(dtype)
    losses, views = separate(llava, nodes)
    objective(losses["answer"], losses["caption"], views).backward()
    theirs = gradients(llava)
    batch = pack(RECORDS, pixels(dtype), ENCODER, captioning=True)
    out = PackedLlava(llava, nodes=nodes)(batch)
    objective(out.answer_loss, out.caption_loss, out.views).backward()
    ours = gradients(llava)
    allowed = TOLERANCE[dtype]
    assert out.answer_loss.item() == pytest.approx(losses["answer"].item(), rel=allowed)
    assert out.caption_loss.item() == pytest.approx(losses["caption"].item(), rel=allowed)
    for name, view in views.items():
        assert torch.allclose(out.views[name], view, atol=allowed), name
    assert ours.keys() == theirs.keys()
    assert max(float((ours[k] - theirs[k]).abs().max() / (1 + theirs[k].abs().max())) for k in ours) < 10 * allowed


@pytest.mark.parametrize("nodes", ["mean", "first", "each"])
def test_the_tokens_of_a_view_have_its_mean(nodes):
    out = PackedLlava(model(torch.float64), nodes=nodes)(pack(RECORDS, pixels(torch.float64), ENCODER), tokens=True)
    for name, tokens in out.tokens.items():
        real = out.masks.get(name, torch.ones(tokens.shape[:2], dtype=torch.bool))
        means = (tokens * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        assert torch.allclose(means, out.views[name], atol=1e-10), name


@pytest.mark.parametrize(("nodes", "count"), [("mean", 3), ("first", 3), ("each", 8)])
@pytest.mark.parametrize("loss", ["alignment", "plot"])
def test_samples_without_an_image_are_not_aligned(nodes, count, loss):
    aligned = wrapped(AlignConfig(images=nodes, loss=loss))
    batch = pack(RECORDS, pixels(torch.float32), ENCODER)
    out = training_step(aligned, [batch], 1.0, torch.Generator().manual_seed(0))
    assert len(out.views["image"]) == len(out.views["caption"]) == count
    assert out.alignment is not None
    assert bool(out.loss.isfinite())


def test_a_batch_without_any_image_is_learnt_and_not_aligned():
    aligned = wrapped(AlignConfig())
    batch = pack([RECORDS[0]] * 2, pixels(torch.float32)[:0], ENCODER)
    out = training_step(aligned, [batch], 1.0, torch.Generator().manual_seed(0), scale=lambda x: x)
    assert out.alignment is None
    tower = aligned.packed.llava.model.vision_tower
    assert all(p.grad is not None and not p.grad.any() for p in tower.parameters() if p.requires_grad and p.numel() > 1)


def test_passes_of_a_batch_give_the_gradient_of_the_whole():
    whole, cut = (wrapped(AlignConfig(message_passing="none")) for _ in range(2))
    places, shown = range(len(RECORDS)), own_pixels(torch.float32)
    noise = [torch.Generator().manual_seed(3) for _ in range(2)]
    batch = pack(RECORDS, pixels(torch.float32), ENCODER, places=places)
    training_step(whole, [batch], 1.0, noise[0], scale=lambda x: x)
    parts = [
        pack(RECORDS[a:b], torch.cat(shown[a:b]), ENCODER, places=range(a, b)) for a, b in ((0, 1), (1, 3), (3, 4))
    ]
    training_step(cut, parts, 1.0, noise[1], scale=lambda x: x)
    ours, theirs = gradients(cut.packed.llava), gradients(whole.packed.llava)
    assert max(float((ours[k] - theirs[k]).abs().max() / (1 + theirs[k].abs().max())) for k in ours) < 2e-5


def test_samples_of_one_person_can_be_one_group():
    records = [replace(record, subject="p" if number else "q") for number, record in enumerate(RECORDS)]
    groups = pack(records, pixels(torch.float32), ENCODER, same="person").groups
    assert groups[1] == groups[2] == groups[3] != groups[0]
    assert len(set(pack(records, pixels(torch.float32), ENCODER).groups.tolist())) == 4


def test_one_image_a_row_gives_the_views_of_before_to_the_digit():
    llava, records = model(torch.float32), [replace(RECORDS[1], id=str(n), image=str(n)) for n in range(3)]
    batch = pack(records, pixels(torch.float32)[:3], ENCODER)
    for nodes in ("mean", "first", "each"):
        packed = PackedLlava(llava, nodes=nodes)
        out = packed(batch)
        assert out.samples is None
        assert torch.equal(out.views["image"], packed.image_features(batch.pixel_values).mean(1))
    assert torch.equal(batch.image_of, torch.arange(3))
    assert len(Views.of(out, batch, tokens=False)) == 3


def wrapped(align: AlignConfig) -> AlignedLlava:
    llava = model(torch.float32)
    alignment = build_loss(align, LANGUAGE.hidden_size, seed=0)
    packed = PackedLlava(llava, nodes=align.images)
    return AlignedLlava(packed, alignment, Config(align=align, model=ModelConfig(vision=VISION, language=LANGUAGE)))
