"""How likely a model finds given answers to a question about an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from medmllm.data.batches import Reader
from medmllm.data.conversation import IGNORE
from medmllm.data.records import Record, each_image
from medmllm.evaluate.generate import Asker
from medmllm.evaluate.stock import StockReader, prompt
from medmllm.model.attention import padded_attention


@dataclass(frozen=True)
class Likelihood:
    """Of one answer.

    Attributes:
        total: its log-probability in nats, end mark included.
        per_token: the same divided by its tokens, which does not favour short answers.
    """

    total: float
    per_token: float


@torch.no_grad()
def likelihoods(
    llava: LlavaForConditionalGeneration, asker: Asker, records: Sequence[Record]
) -> list[list[Likelihood]]:
    """For each record, the likelihood of each of its options as the whole answer.

    All options of all records are one batch: cost and memory are those of so many sequences.
    """
    pairs = [(record, option) for record in records for option in record.options]
    ids, mask, learnt = _padded(
        [_reply(asker, record, option) for record, option in pairs], asker.tokenizer.pad_token_id
    )
    images = [(each_image([record.first_turn()]), len(record.options)) for record in records]
    pixels = [asker.pixels(one).repeat(count, 1, 1, 1) for one, count in images if one]
    shown = {"pixel_values": torch.cat(pixels).to(llava.device, llava.dtype)} if pixels else {}
    with padded_attention(llava.model.language_model):
        hidden = llava.model(
            input_ids=ids.to(llava.device), attention_mask=mask.to(llava.device), **shown
        ).last_hidden_state
    found = _scores(llava, hidden, ids.to(llava.device), learnt.to(llava.device))
    rows = iter(zip(found.tolist(), learnt.sum(1).tolist(), strict=True))
    told = [[next(rows) for _ in record.options] for record in records]
    return [[Likelihood(total, total / count) for total, count in row] for row in told]


def _scores(llava: LlavaForConditionalGeneration, hidden: Tensor, ids: Tensor, learnt: Tensor) -> Tensor:
    """Summed log-probabilities of the learnt tokens of each row; logits are made for these alone."""
    rows, places = learnt.nonzero(as_tuple=True)
    logits = llava.lm_head(hidden[rows, places - 1]).float()
    chosen = logits.log_softmax(-1).gather(1, ids[rows, places][:, None])[:, 0]
    return torch.zeros(len(ids), device=ids.device).index_add_(0, rows, chosen)


def _reply(asker: Asker, record: Record, option: str) -> tuple[list[int], list[bool]]:
    """Token ids of the question and an answer to it, and which of them are the answer."""
    if isinstance(asker, Reader):
        encoded = asker.encoder.answered(record.question, option, images=record.first_turn().places)
        return encoded.ids, [label != IGNORE for label in encoded.labels]
    assert isinstance(asker, StockReader)
    asked = asker.questions([record])["input_ids"][0].tolist()
    before = prompt(asker.processor, [], record.question, record.first_turn().places)
    text = option if before[-1:].isspace() else f" {option}"
    reply = [*asker.tokenizer(text, add_special_tokens=False).input_ids, asker.tokenizer.eos_token_id]
    return asked + reply, [False] * len(asked) + [True] * len(reply)


def _padded(rows: Sequence[tuple[list[int], list[bool]]], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and learnt places, padded on the right: nothing is generated after them."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
    learnt = torch.tensor([marks + [False] * (longest - len(marks)) for _, marks in rows])
    return ids, mask, learnt
