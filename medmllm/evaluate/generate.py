"""Answers by greedy decoding, a batch at a time, each up to where its chat format says that it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration, StoppingCriteria, StoppingCriteriaList

from medmllm.data.chat import Chat
from medmllm.data.records import Record
from medmllm.model.attention import padded_attention


class Asker(Protocol):
    """Turns records into what `generate` takes: `medmllm.data.batches.Reader`, or `StockReader` for any checkpoint."""

    @property
    def tokenizer(self) -> Any:
        """Read what was generated."""

    @property
    def chat(self) -> Chat:
        """What ends an answer, and the word that the model writes before it."""

    @property
    def processor(self) -> Any:
        """Prepare the model's inputs."""

    def questions(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """`input_ids` padded on the left, `attention_mask`, and `pixel_values` where a question has an image."""

    def pixels(self, records: Sequence[Record]) -> Tensor:
        """(B, 3, H, W) of records with one image each."""

    def follow_up(
        self,
        images: Sequence[tuple[int, Image.Image]],
        before: Sequence[tuple[str, str]],
        question: str,
        *,
        letters: Sequence[int] | None = None,
        system: str | None = None,
    ) -> dict[str, Tensor]:
        """The same of one question after earlier ones; each image is open, and belongs to the turn of its number."""


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
            yield generate(llava, asker, asker.questions(records[start : start + batch_size]), max_new_tokens)
    llava.train(training)


def generate(
    llava: LlavaForConditionalGeneration, asker: Asker, inputs: dict[str, Tensor], max_new_tokens: int
) -> list[str]:
    """The model's answers to inputs of `questions` or `follow_up`, without end mark and role word."""
    produced = new_tokens(llava, asker, inputs, max_new_tokens)
    texts = asker.tokenizer.batch_decode(produced, skip_special_tokens=True)
    return [asker.chat.answer(text) for text in texts]


@torch.no_grad()
def new_tokens(
    llava: LlavaForConditionalGeneration,
    asker: Asker,
    inputs: dict[str, Tensor],
    max_new_tokens: int,
    *,
    stops: Sequence[str] = (),
    **settings: Any,
) -> Tensor:
    """(rows, tokens) that the model writes after the inputs: greedily, unless `settings` say otherwise.

    Args:
        llava, asker, inputs, max_new_tokens: as `generate` takes them.
        stops: texts that end an answer beside those of the format.
        settings: for transformers' `generate`.
    """
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(llava.dtype)
    start = inputs["input_ids"].shape[1]
    ends = [*asker.chat.stops, *stops]
    produced: Tensor = llava.generate(
        **{name: tensor.to(llava.device) for name, tensor in inputs.items()},
        max_new_tokens=max_new_tokens,
        stopping_criteria=StoppingCriteriaList([Stop(asker.tokenizer, ends, start)] if ends else []),
        **({"do_sample": False} | settings),
    )
    return produced[:, start:]


class Stop(StoppingCriteria):
    """Ends each row of a batch whose new text holds one of some strings; a string of the prompt does not count.

    Args:
        tokenizer: reads the new tokens.
        stops: the strings.
        start: length of the prompts.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], start: int) -> None:
        self.tokenizer, self.stops, self.start = tokenizer, stops, start
        self.tail = max(map(len, stops)) + 4  # tokens that hold a string which the last of them completes

    def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
        """(rows,) bool."""
        texts = self.tokenizer.batch_decode(input_ids[:, max(self.start, input_ids.shape[1] - self.tail) :])
        ended = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(ended, device=input_ids.device)
