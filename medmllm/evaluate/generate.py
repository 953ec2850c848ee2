"""Answers by greedy decoding, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from medmllm.data.records import Record
from medmllm.model.attention import padded_attention


class Asker(Protocol):
    """Turns records into what `generate` takes: `medmllm.data.batches.Reader`, or `StockReader` for any checkpoint."""

    @property
    def tokenizer(self) -> Any:
        """Reads what was generated."""

    @property
    def processor(self) -> Any:
        """Prepares the model's inputs."""

    def questions(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """`input_ids` padded on the left, `attention_mask`, `pixel_values`."""


def answers(
    llava: LlavaForConditionalGeneration,
    asker: Asker,
    records: Sequence[Record],
    *,
    batch_size: int,
    max_new_tokens: int,
) -> Iterator[str]:
    """The model's answer to each record's first question, in order."""
    batches = answer_batches(llava, asker, records, batch_size=batch_size, max_new_tokens=max_new_tokens)
    return chain.from_iterable(batches)


def answer_batches(
    llava: LlavaForConditionalGeneration,
    asker: Asker,
    records: Sequence[Record],
    *,
    batch_size: int,
    max_new_tokens: int,
) -> Iterator[list[str]]:
    """The same, a batch at a time."""
    training = llava.training
    llava.eval()
    with padded_attention(llava.model.language_model):
        for start in range(0, len(records), batch_size):
            yield _answer(llava, asker, records[start : start + batch_size], max_new_tokens)
    llava.train(training)


@torch.no_grad()
def _answer(
    llava: LlavaForConditionalGeneration, asker: Asker, records: Sequence[Record], max_new_tokens: int
) -> list[str]:
    inputs = asker.questions(records)
    inputs["pixel_values"] = inputs["pixel_values"].to(llava.dtype)
    produced = llava.generate(
        **{name: tensor.to(llava.device) for name, tensor in inputs.items()},
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    texts = asker.tokenizer.batch_decode(produced[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]
