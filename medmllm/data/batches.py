"""Batches by number: any step's batch can be made at any time, so a resumed run reads what the whole one read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from medmllm.data.chat import Chat
from medmllm.data.conversation import Encoded, Encoder
from medmllm.data.packing import TEXTS, PackedBatch, pack
from medmllm.data.records import Record, each_image
from medmllm.data.source import Images

NOTHING = Image.new("RGB", (1, 1))
TOGETHER = 50  # batches whose records are sorted by length into each other


@dataclass(frozen=True)
class Sampler:
    """Seeded permutations of `size` records, one per epoch, cut into batches; a remainder waits for no one.

    Without state: the batch of step `s` is a function of (lengths, seed, s) alone.

    With `lengths`, batches hold records of like length: the shuffled records of 50 batches are sorted by length and cut
    again, and an epoch's batches come in a shuffled order. Rows are packed, so there is no padding to save; what it
    gains is that no process waits for another. For texts as `medmllm.bench.sizes` draws them, dealt to 8 processes, the
    fullest has this many of the mean process's tokens, and the largest step this many of the mean step's:

        samples a step                 32            64           128
        fullest process       1.10 -> 1.00  1.05 -> 1.00  1.03 -> 1.00
        largest step           1.3 -> 2.4    1.2 -> 2.4    1.1 -> 2.3

    With 2 processes the fullest has 1.01 at most either way, and with one there is nothing to gain. Memory has to
    suffice for the largest step. It also decides which samples share a graph: each is compared with others of its own
    length, so a run with it is another experiment than one without.
    """

    size: int
    batch_size: int
    seed: int
    lengths: Tensor | None = field(default=None, compare=False)

    def indices(self, step: int) -> list[int]:
        """Record numbers of optimiser step `step`, from 0."""
        epoch, position = divmod(step, self.batches)
        order = _order(self.size, self.seed, epoch)[: self.batches * self.batch_size]
        if self.lengths is None:
            return self._cut(order, position)
        number = int(_permutation(self.batches, seed_of(self.seed, epoch, 1))[position])
        chunk, place = divmod(number, TOGETHER)
        records = order[chunk * TOGETHER * self.batch_size :][: TOGETHER * self.batch_size]
        return self._cut(records[self.lengths[records].argsort(stable=True)], place)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self.size // self.batch_size

    def _cut(self, order: Tensor, number: int) -> list[int]:
        return order[number * self.batch_size : (number + 1) * self.batch_size].tolist()


@lru_cache(maxsize=1)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    """An epoch's permutation; kept, as the next step asks for the same one."""
    return torch.randperm(size, generator=step_generator(seed, epoch))


@lru_cache(maxsize=1)
def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


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
    """Turn records of one source into tensors."""

    source: Images
    encoder: Encoder
    processor: LlavaProcessor

    def pixels(self, records: Sequence[Record]) -> Tensor:
        """(B, 3, H, W) float32 of records with one image each, resized and normalised as the saved processor does, to
        the digit.

        The processor resizes one by one; what it makes of the 256 levels of a channel is looked up for the whole batch.
        """
        images = [self.source.image(record) for record in records]
        if not images:
            return self.processor.image_processor([NOTHING], return_tensors="pt").pixel_values[:0]
        resized = self.processor.image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")
        places = resized.pixel_values.int() + 256 * torch.arange(3).int()[:, None, None]
        return self._normalised.index_select(0, places.flatten()).view(places.shape)

    @cached_property
    def _normalised(self) -> Tensor:
        """(3 * 256,) what the processor makes of each level of each channel: of a picture that has them all."""
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
        as_it_is = {"do_resize": False, "do_center_crop": False, "do_pad": False}
        return self.processor.image_processor([ramp], return_tensors="pt", **as_it_is).pixel_values.flatten()

    @property
    def chat(self) -> Chat:
        """The format in which the model is asked."""
        return self.encoder.chat

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of prompts and answers."""
        return self.encoder.tokenizer

    def questions(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Prompts of the records' first questions and their images, as `generate` takes them; without pixels where no
        question has an image.

        Prompts are padded on the left: on the right, a batch would not answer as its items do one by one.
        """
        records = [record.first_turn() for record in records]
        images = each_image(records)
        prompts = [self.encoder.prompt(record.question, images=record.places) for record in records]
        ids, mask = pad_left(prompts, self.tokenizer.pad_token_id)
        shown = {"pixel_values": self.pixels(images)} if images else {}
        return {"input_ids": ids, "attention_mask": mask, **shown}

    def follow_up(
        self,
        images: Sequence[tuple[int, Image.Image]],
        before: Sequence[tuple[str, str]],
        question: str,
        *,
        letters: Sequence[int] | None = None,
        system: str | None = None,
    ) -> dict[str, Tensor]:
        """The same of one question after earlier ones; each image is open, and belongs to the turn of its number.

        Args:
            images: turn and image.
            before: earlier questions and answers.
            question: the question.
            letters: after how many letters of its question each image is; before all of it where nothing is said.
            system: a system text in place of the format's own.
        """
        places = [(turn, letter) for (turn, _), letter in zip(images, letters or [0] * len(images), strict=True)]
        ids = self.encoder.prompt(question, tuple(before), system=system, images=places)
        made = dict(zip(("input_ids", "attention_mask"), pad_left([ids], self.tokenizer.pad_token_id), strict=True))
        if images:
            shown = [image for _, image in images]
            made["pixel_values"] = self.processor.image_processor(shown, return_tensors="pt").pixel_values
        return made

    def pack(
        self,
        records: Sequence[Record],
        *,
        captioning: bool = False,
        texts: Collection[str] = TEXTS,
        places: Sequence[int] | None = None,
        encoded: Sequence[list[Encoded]] | None = None,
        same: Literal["image", "person"] = "image",
    ) -> PackedBatch:
        """The packed batch of `records`, on the CPU; see `medmllm.data.packing.pack`."""
        more: dict[str, Any] = {"captioning": captioning, "texts": texts, "places": places, "encoded": encoded}
        more["same"] = same
        return pack(records, self.pixels(each_image(records)), self.encoder, **more)


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(rows, longest) ids and their attention mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
