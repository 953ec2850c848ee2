"""Steps without packing: the plain LLaVA step, and three padded passes as the released code of ExGra-Med takes them.

Written from the description of those passes; nothing of that code is here. The texts' means include padding, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaForConditionalGeneration

from medmllm.data.conversation import IGNORE
from medmllm.data.packing import PackedBatch
from medmllm.model.attention import padded_attention
from medmllm.model.packed import PackedOutput
from medmllm.model.views import ImageNodes


def read_padded(llava: LlavaForConditionalGeneration, batch: PackedBatch, *unused: object) -> PackedOutput:
    """Everything that a step needs, from padded passes: logits at every place, and a pass of its own for each text."""
    ids, labels, mask = conversations(batch)
    with padded_attention(llava.model.language_model):
        out = llava(input_ids=ids, attention_mask=mask, pixel_values=batch.pixel_values, labels=labels, use_cache=False)
    count, none = (labels != IGNORE).sum(), labels.new_zeros(())
    states = torch.cat(list(out.image_hidden_states))  # a list since transformers 5.24, a tensor before
    images = states.view(len(batch.pixel_values), -1, llava.config.text_config.hidden_size)
    image = ImageNodes.of(batch.counts, "mean", images.device).means(images)
    views = {name: text_view(llava, batch, name) for name in batch.texts}
    return PackedOutput(out.loss * count, count, none.float(), none, {"image": image, **views}, {}, {})


def text_view(llava: LlavaForConditionalGeneration, batch: PackedBatch, name: str) -> Tensor:
    """(B, d) means of the last hidden states of a padded pass over one text of every sample, padding included."""
    ids = pad_sequence(segments(batch, batch.block(name)), batch_first=True)
    mask = pad_sequence([torch.ones_like(s) for s in segments(batch, batch.block(name))], batch_first=True)
    with padded_attention(llava.model.language_model):
        hidden = llava.model.language_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden.float().mean(1)


def conversations(batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels and attention mask of the conversations, padded on the right."""
    parts = segments(batch, range(len(batch)))
    end = sum(batch.lengths[: len(batch)])
    labels = batch.labels[0, :end].split(batch.lengths[: len(batch)])
    mask = pad_sequence([torch.ones_like(part) for part in parts], batch_first=True)
    return pad_sequence(parts, batch_first=True), pad_sequence(labels, True, IGNORE), mask


def segments(batch: PackedBatch, numbers: range) -> list[Tensor]:
    """The ids of some segments of the row, one by one."""
    row = batch.row(numbers)
    return list(row.input_ids[0].split(batch.lengths[numbers.start : numbers.stop]))
