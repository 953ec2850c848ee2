"""Batches by number: any step's batch can be made at any time, so a resumed run reads what the whole one read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from medmllm.data.conversation import Encoder
from medmllm.data.packing import TEXTS, PackedBatch, pack, segments
from medmllm.data.records import Record
from medmllm.data.source import Images


@dataclass(frozen=True)
class Sampler:
    """Seeded permutations of `size` records, one per epoch, cut into batches; a remainder waits for no one.

    Without state: the batch of step `s` is a function of (seed, s) alone.
    """

    size: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> list[int]:
        """Record numbers of optimiser step `step`, from 0."""
        epoch, position = divmod(step, self.size // self.batch_size)
        order = _order(self.size, self.seed, epoch)
        return order[position * self.batch_size : (position + 1) * self.batch_size].tolist()


@lru_cache(maxsize=1)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    """An epoch's permutation; kept, as the next step asks for the same one."""
    return torch.randperm(size, generator=step_generator(seed, epoch))


def step_generator(seed: int, step: int) -> torch.Generator:
    """A fresh generator for (seed, step), equal on every process; seeds stay apart for a million steps."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))


def seed_of(*parts: int) -> int:
    """One seed from several numbers, for what is drawn from torch's own generator."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 1_000_003 + part + 1) % 2**63
    return mixed


@dataclass(frozen=True)
class Reader:
    """Turns records of one source into tensors."""

    source: Images
    encoder: Encoder
    processor: LlavaProcessor

    def pixels(self, records: Sequence[Record]) -> Tensor:
        """(B, 3, H, W) float32, resized and normalised as the saved processor does."""
        images = [self.source.image(record) for record in records]
        return self.processor.image_processor(images, return_tensors="pt").pixel_values

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of prompts and answers."""
        return self.encoder.tokenizer

    def questions(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Prompts of the records' first questions and their images, as `generate` takes them.

        Prompts are padded on the left: on the right, a batch would not answer as its items do one by one.
        """
        ids, mask = pad_left([self.encoder.prompt(r.question) for r in records], self.tokenizer.pad_token_id)
        return {"input_ids": ids, "attention_mask": mask, "pixel_values": self.pixels(records)}

    def tokens(self, record: Record, captioning: bool, texts: Collection[str]) -> int:
        """Tokens of all the record's segments in a packed batch."""
        return sum(map(len, segments(record, self.encoder, captioning=captioning, texts=texts)))

    def pack(
        self,
        records: Sequence[Record],
        *,
        captioning: bool = False,
        texts: Collection[str] = TEXTS,
        places: Sequence[int] | None = None,
    ) -> PackedBatch:
        """The packed batch of `records`, on the CPU; see `medmllm.data.packing.pack`."""
        return pack(records, self.pixels(records), self.encoder, captioning=captioning, texts=texts, places=places)


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(rows, longest) ids and their attention mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
