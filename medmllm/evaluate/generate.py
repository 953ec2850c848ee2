"""Answers by greedy decoding, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from medmllm.data.batches import Reader
from medmllm.data.records import Record
from medmllm.model.attention import padded_attention


@torch.no_grad()
def answers(
    llava: LlavaForConditionalGeneration,
    reader: Reader,
    records: Sequence[Record],
    *,
    batch_size: int,
    max_new_tokens: int,
) -> Iterator[str]:
    """The model's answer to each record's first question, in order.

    Prompts are padded on the left: on the right, a batch would not answer as its items do one by one.
    """
    training = llava.training
    llava.eval()
    with padded_attention(llava.model.language_model):
        for start in range(0, len(records), batch_size):
            yield from _answer(llava, reader, records[start : start + batch_size], max_new_tokens)
    llava.train(training)


def _answer(
    llava: LlavaForConditionalGeneration, reader: Reader, records: Sequence[Record], max_new_tokens: int
) -> list[str]:
    encoder = reader.encoder
    ids, mask = pad_left([encoder.prompt(r.question) for r in records], encoder.tokenizer.pad_token_id)
    produced = llava.generate(
        input_ids=ids.to(llava.device),
        attention_mask=mask.to(llava.device),
        pixel_values=reader.pixels(records).to(llava.device, llava.dtype),
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    texts = encoder.tokenizer.batch_decode(produced[:, ids.shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(rows, longest) ids and their attention mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
