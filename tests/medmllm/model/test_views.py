"""The other ways to a text view: equal to what their names say, and which of them see the image."""

import pytest
import torch
import torch.nn.functional as F

from medmllm.data.conversation import Encoder
from medmllm.data.packing import TEXTS, pack
from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.model.assemble import assemble, image_tokens
from medmllm.model.packed import PackedLlava
from medmllm.settings.schema import LanguageConfig, ModelConfig, VisionConfig

RECORDS = [
    Record("a", "1.png", (("Which plane?", "axial"),), "The plane is axial.", "A long text about an axial slice."),
    Record("b", "2.png", (("Is it?", "no"), ("And now?", "yes it is")), "No. Yes it is.", "Short."),
    Record("c", "3.png", (("What is it?", "the liver"),), "It is the liver.", "The liver fills the slice."),
]
VISION = VisionConfig(image_size=28, patch_size=14, hidden_size=16, layers=1, heads=2)
LANGUAGE = LanguageConfig(hidden_size=24, intermediate_size=32, layers=3, heads=2, vocab_size=320)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def encoder():
    return Encoder(build_tokenizer(RECORDS, 320), image_tokens(VISION))


@pytest.fixture
def llava(encoder):
    return assemble(ModelConfig(vision=VISION, language=LANGUAGE), encoder.tokenizer, seed=1).double()


@pytest.fixture
def batch(encoder):
    return packed_batch(encoder)


def packed_batch(encoder, seed=0, **options):
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return pack(RECORDS, pixels, encoder, **options)


def gradients(llava, loss):
    llava.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in llava.named_parameters() if p.grad is not None}


def text_ids(encoder, name):
    texts = [r.sentence if name == "answer" else r.caption for r in RECORDS]
    return [torch.tensor([encoder.text(text).ids]) for text in texts]


def test_embed_is_the_mean_of_word_embeddings(llava, encoder, batch):
    views = PackedLlava(llava, view="embed")(batch).views
    embedding = llava.get_input_embeddings()
    for name in TEXTS:
        expected = torch.stack([embedding(ids)[0].mean(0) for ids in text_ids(encoder, name)])
        torch.testing.assert_close(views[name], expected, **EXACT)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_layer_is_the_normed_hidden_state_after_it(llava, encoder, batch, layer):
    views = PackedLlava(llava, layer=layer)(batch).views
    language = llava.model.language_model
    language.config._attn_implementation = "sdpa"
    for name in TEXTS:
        states = [language(input_ids=ids, output_hidden_states=True).hidden_states for ids in text_ids(encoder, name)]
        # the last state that transformers gives is normed already
        normed = [state[layer] if layer == 3 else language.norm(state[layer]) for state in states]
        torch.testing.assert_close(views[name], torch.stack([x[0].mean(0) for x in normed]), **EXACT)
    assert language.config.num_hidden_layers == 3


def test_a_caption_without_gradient_has_the_same_value_and_leaves_the_rest(llava, batch):
    whole, half = PackedLlava(llava)(batch), PackedLlava(llava, caption_grad=False)(batch)
    for name, view in whole.views.items():
        torch.testing.assert_close(half.views[name], view, **EXACT)
    assert not half.views["caption"].requires_grad
    expected = gradients(llava, whole.answer_loss + whole.views["answer"].square().sum())
    actual = gradients(llava, half.answer_loss + half.views["answer"].square().sum())
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, **EXACT)


def test_the_leaky_answer_is_the_mean_over_the_conversations_answer_tokens(llava, encoder):
    batch = packed_batch(encoder, texts=("caption",))
    out = PackedLlava(llava, view="lm_leaky")(batch, tokens=True)
    llava.model.language_model.config._attn_implementation = "sdpa"
    for i, record in enumerate(RECORDS):
        sequence = encoder.conversation(record)
        ids = torch.tensor([sequence.ids])
        hidden = llava.model(input_ids=ids, pixel_values=batch.pixel_values[i : i + 1]).last_hidden_state[0]
        expected = hidden[torch.tensor(sequence.labels) != -100]
        torch.testing.assert_close(out.views["answer"][i], expected.mean(0), **EXACT)
        torch.testing.assert_close(out.tokens["answer"][i][out.masks["answer"][i]], expected, **EXACT)


@pytest.mark.parametrize(
    ("settings", "sees"),
    [({}, False), ({"view": "embed"}, False), ({"layer": 2}, False), ({"caption_grad": False}, False),
     ({"view": "lm_leaky"}, True)],
)  # fmt: skip
def test_only_the_leaky_view_sees_the_image(llava, encoder, settings, sees):
    packed = PackedLlava(llava, **settings)
    first, other = (packed(packed_batch(encoder, seed)).views for seed in (0, 1))
    assert not torch.allclose(first["image"], other["image"])
    assert torch.equal(first["answer"], other["answer"]) is not sees
    assert torch.equal(first["caption"], other["caption"])


@pytest.mark.parametrize("view", ["standalone", "embed", "lm_leaky"])
def test_tokens_average_to_the_view(llava, batch, view):
    out = PackedLlava(llava, view=view)(batch, tokens=True)
    for name in TEXTS:
        counts = out.masks[name].sum(1, keepdim=True)
        torch.testing.assert_close(out.tokens[name].sum(1) / counts, out.views[name], **EXACT)


def noise(encoder, count, generator):
    """Images and answers that have nothing to do with each other."""
    letters = torch.randint(97, 123, (count, 16), generator=generator).tolist()
    texts = ["".join(map(chr, word)) for word in letters]
    records = [Record(str(i), str(i), (("What?", text),), text, text) for i, text in enumerate(texts)]
    colour = torch.randn(count, 3, 1, 1, generator=generator)
    pixels = colour + 0.5 * torch.randn(count, 3, 28, 28, generator=generator)
    return pack(records, pixels, encoder, texts=("answer",))


def retrieval(packed, batch):
    """Image-to-answer scores of one batch."""
    views = packed(batch).views
    return F.normalize(views["image"], dim=-1) @ F.normalize(views["answer"], dim=-1).T


@pytest.mark.slow
@pytest.mark.parametrize(("view", "low", "high"), [("standalone", 0.0, 0.05), ("lm_leaky", 0.4, 1.0)])
def test_alignment_of_independent_noise_shows_the_leak(encoder, view, low, high):
    """Held-out retrieval of 64 where nothing is to be found: chance without a leak, far above it with one."""
    packed = PackedLlava(assemble(ModelConfig(vision=VISION, language=LANGUAGE), encoder.tokenizer, seed=0), view=view)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(packed.parameters(), lr=1e-3)
    for _ in range(250):
        loss = F.cross_entropy(retrieval(packed, noise(encoder, 16, generator)) / 0.1, torch.arange(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = torch.Generator().manual_seed(999)
    with torch.no_grad():
        best = torch.cat([retrieval(packed, noise(encoder, 64, held_out)).argmax(1) for _ in range(8)])
    right = float((best == torch.arange(64).repeat(8)).float().mean())
    assert low <= right <= high
