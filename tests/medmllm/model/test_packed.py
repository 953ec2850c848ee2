"""One packed pass equals separate passes, and the test can tell when it does not."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration

from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.packing import PackedBatch, pack
from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.model.assemble import assemble, image_tokens, recompute_activations
from medmllm.model.packed import PackedLlava
from medmllm.settings.schema import LanguageConfig, ModelConfig, VisionConfig

RECORDS = [
    Record(
        "a", "1.png", (("Which plane is this?", "axial"),), "The plane is axial.", "A long text about an axial slice."
    ),
    Record("b", "2.png", (("Is it?", "no"), ("And now?", "yes it is")), "No. Yes it is.", "Short."),
    Record(
        "c",
        "1.png",
        (("What is the largest organ here?", "the liver"),),
        "It is the liver.",
        "The liver fills the slice.",
    ),
]
VISION = VisionConfig(image_size=28, patch_size=14, hidden_size=16, layers=2, heads=2)
LANGUAGE = LanguageConfig(hidden_size=24, intermediate_size=32, layers=2, heads=2, vocab_size=320)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture
def encoder():
    return Encoder(build_tokenizer(RECORDS, 320), image_tokens(VISION))


@pytest.fixture
def llava(encoder, dtype) -> LlavaForConditionalGeneration:
    config = ModelConfig(vision=VISION, language=LANGUAGE)
    return assemble(config, encoder.tokenizer, seed=1).to(dtype).train()


@pytest.fixture
def batch(encoder, dtype) -> PackedBatch:
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return pack(RECORDS, pixels, encoder, captioning=True)


def separate(llava, encoder, batch):
    """The same quantities from one stock pass per sequence: no packing, no padding, stock attention."""
    llava.model.language_model.config._attn_implementation = "sdpa"
    losses = {"answer": 0.0, "caption": 0.0}
    views = {"image": [], "answer": [], "caption": []}
    for record, pixels in zip(RECORDS, batch.pixel_values, strict=True):
        for name, sequence in (("answer", encoder.conversation(record)), ("caption", encoder.captioning(record))):
            out = llava(input_ids=torch.tensor([sequence.ids]), pixel_values=pixels[None])
            losses[name] += next_token_loss(out.logits[0], torch.tensor(sequence.labels))
        states = torch.cat(list(out.image_hidden_states))  # a list since transformers 5.24, a tensor before
        views["image"].append(states.reshape(-1, LANGUAGE.hidden_size).mean(0))
        for name, text in (("answer", record.sentence), ("caption", record.caption)):
            hidden = llava.model.language_model(input_ids=torch.tensor([encoder.text(text).ids])).last_hidden_state
            views[name].append(hidden[0].mean(0))
    return losses, {name: torch.stack(rows) for name, rows in views.items()}


def next_token_loss(logits, labels):
    return F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORE, reduction="sum")


def objective(answer, caption, views):
    """Every quantity enters with its own weight, so a gradient that goes astray shows."""
    return answer + 0.3 * caption + sum((w * v.square()).sum() for w, v in zip((1, 2, 3), views.values(), strict=True))


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def run_packed(llava, batch, checkpointing=False):
    packed = PackedLlava(llava)
    if checkpointing:
        recompute_activations(llava)
    out = packed(batch)
    objective(out.answer_loss, out.caption_loss, out.views).backward()
    return out, gradients(llava)


def run_separate(llava, encoder, batch):
    losses, views = separate(llava, encoder, batch)
    objective(losses["answer"], losses["caption"], views).backward()
    return losses, views, gradients(llava)


def distance(ours, theirs):
    difference = sum((ours[name] - theirs[name]).square().sum() for name in theirs)
    return float((difference / sum(g.square().sum() for g in theirs.values())).sqrt())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_packed_equals_separate(llava, encoder, batch, dtype, checkpointing):
    losses, views, expected = run_separate(llava, encoder, batch)
    out, actual = run_packed(llava, batch, checkpointing)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(out.answer_loss, losses["answer"], **close)
    torch.testing.assert_close(out.caption_loss, losses["caption"], **close)
    for name, view in views.items():
        torch.testing.assert_close(out.views[name], view, **close)
    assert actual.keys() == expected.keys()
    assert distance(actual, expected) < TOLERANCE[dtype]


def test_counts_are_the_supervised_tokens(llava, encoder, batch):
    out = PackedLlava(llava)(batch)
    answers = sum(label != IGNORE for r in RECORDS for label in encoder.conversation(r).labels)
    captions = sum(label != IGNORE for r in RECORDS for label in encoder.captioning(r).labels)
    assert (int(out.answer_tokens), int(out.caption_tokens)) == (answers, captions)


def test_leaking_segments_are_noticed(llava, encoder, batch, dtype):
    """One segment of the whole row: what a packed row without bounds would compute."""
    from dataclasses import replace

    length = batch.input_ids.shape[1]
    leaking = replace(batch, bounds=torch.tensor([0, length], dtype=torch.int32), lengths=(length,)).row(range(1))
    _, _, expected = run_separate(llava, encoder, batch)
    packed = PackedLlava(llava)
    images = packed.image_features(batch.pixel_values)[batch.image_of]
    whole = batch.row(range(len(batch.lengths)))
    assert not torch.allclose(packed._read(leaking, images), packed._read(whole, images), atol=1e-3)
    packed._read = lambda _, features: PackedLlava._read(packed, leaking, features)
    out = packed(batch)
    objective(out.answer_loss, out.caption_loss, out.views).backward()
    assert distance(gradients(llava), expected) > 100 * TOLERANCE[dtype]


def test_a_view_does_not_depend_on_its_neighbours(llava, encoder, batch):
    packed = PackedLlava(llava)
    alone = packed(pack(RECORDS[:1], batch.pixel_values[:1], encoder)).views
    together = packed(batch).views
    for name, view in alone.items():
        torch.testing.assert_close(view[0], together[name][0], rtol=1e-4, atol=1e-5)


def test_an_attention_mask_is_refused(llava, batch):
    PackedLlava(llava)
    with pytest.raises(ValueError, match="attention mask is not accepted"):
        llava.model.language_model(
            inputs_embeds=torch.zeros(1, 4, 24, dtype=llava.dtype),
            attention_mask=torch.zeros(1, 1, 4, 4, dtype=llava.dtype),
            bounds=torch.tensor([0, 4]),
            longest=4,
        )


def test_equal_images_are_one_group(batch):
    first, second, third = batch.groups.tolist()
    assert first == third != second
