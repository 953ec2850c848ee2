"""The last layer's MLP runs where it is read; what is read stays the same to the digit."""

import copy
from dataclasses import replace

import pytest
import torch

from medmllm.build import build_job
from medmllm.model.assemble import recompute_activations
from medmllm.model.attention import padded_attention
from medmllm.model.packed import PackedLlava


@pytest.fixture
def job(tiny):
    return build_job(tiny(train={"batch_size": 8, "caption_weight": 0.5}))


def rows_of_mlp(packed):
    """Inputs of the last layer's MLP, by call; filled as the model runs."""
    seen = []
    gate = packed.llava.model.language_model.layers[-1].mlp.gate_proj
    gate.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[1]))
    return seen


def everywhere(packed, monkeypatch):
    """The same model with an MLP that runs at every place."""
    whole = copy.deepcopy(packed)
    read = whole._read
    monkeypatch.setattr(whole, "_read", lambda row, images=None: read(replace(row, read=None), images))
    return whole


def gradients(model, out):
    (out.answer_loss + sum(view.square().sum() for view in out.views.values())).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (("answer", "caption"), {}),
        ((), {}),
        (("answer", "caption"), {"caption_grad": False}),
        (("answer", "caption"), {"view": "embed"}),
        (("caption",), {"view": "lm_leaky"}),
    ],
)
def test_losses_and_views_are_equal_and_fewer_rows_are_computed(job, monkeypatch, texts, options):
    packed = PackedLlava(job.model.packed.llava, **options)
    whole = everywhere(packed, monkeypatch)
    batch = job.reader.pack(job.records[:8], captioning=True, texts=texts)
    rows, all_rows = rows_of_mlp(packed), rows_of_mlp(whole)
    out, expected = packed(batch), whole(batch)
    assert rows[0] < 0.8 * all_rows[0]
    assert (out.answer_loss, out.caption_loss) == (expected.answer_loss, expected.caption_loss)
    assert all(torch.equal(out.views[name], expected.views[name]) for name in expected.views)
    found, right = gradients(packed, out), gradients(whole, expected)
    assert found.keys() == right.keys()
    torch.testing.assert_close(found, right)  # rows are added up in another order


def test_recomputed_layers_skip_the_same_rows(job, monkeypatch):
    packed = job.model.packed.train()
    batch = job.reader.pack(job.records[:8])
    right = gradients(packed, packed(batch))
    packed.zero_grad()
    recompute_activations(packed.llava)
    rows = rows_of_mlp(packed)
    torch.testing.assert_close(gradients(packed, packed(batch)), right)
    assert len(rows) == 2
    assert rows[0] == rows[1] < len(batch.input_ids[0])


def test_a_second_reader_of_one_model_adds_nothing(job):
    packed = job.model.packed
    before = packed(job.reader.pack(job.records[:4])).answer_loss
    assert PackedLlava(packed.llava)(job.reader.pack(job.records[:4])).answer_loss == before


def test_generation_reads_everything(job):
    rows = rows_of_mlp(job.model.packed)
    inputs = job.reader.questions(job.records[:2])
    with padded_attention(job.model.packed.llava.model.language_model):
        job.model.packed.llava.model(**inputs)
    assert rows == [inputs["input_ids"].shape[1]]
