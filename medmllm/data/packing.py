r"""Packed batches: every sequence of a step in one row, with the bounds that keep them apart.

A step reads, for samples $1..B$, the segments

    [LM_1 .. LM_B | (captioning_1 .. captioning_B) | answer_1 .. answer_B | caption_1 .. caption_B]

in one row of $T$ tokens without padding. Attention is block-diagonal: a segment sees only itself. The block of
captioning is there only for the control that learns captions as language-model targets, the blocks of texts only where
a step aligns them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any, Self

import torch
from torch import Tensor

from medmllm.data.conversation import Encoded, Encoder
from medmllm.data.records import Record

TEXTS = ("answer", "caption")  # the texts that a view can be made of, in the order of their blocks


@dataclass(frozen=True, eq=False)
class Row:
    """Segments in one row of T tokens: `input_ids` and `position_ids` (1, T), `bounds` and `longest` as in a batch."""

    input_ids: Tensor
    position_ids: Tensor
    bounds: Tensor
    longest: int


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """One step's input.

    Attributes:
        input_ids: (1, T) int64.
        position_ids: (1, T) int64, restarting at 0 in every segment.
        labels: (1, T) int64, -100 where nothing is learnt.
        bounds: (segments + 1,) int32, cumulative segment lengths from 0 to T.
        lengths: length of every segment.
        pixel_values: (B, 3, H, W) float.
        image_of: (image segments,) int64, which sample's image each segment with an image shows.
        captioning: (1, T) bool, true where the label belongs to a captioning segment.
        texts: names of the blocks of B text segments at the end.
        groups: (B,) int64; samples of equal number show the same image and are interchangeable in a matching.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    bounds: Tensor
    lengths: tuple[int, ...]
    pixel_values: Tensor
    image_of: Tensor
    captioning: Tensor
    texts: tuple[str, ...]
    groups: Tensor

    def __len__(self) -> int:
        """Number of samples B."""
        return len(self.groups)

    def block(self, name: str) -> range:
        """The segments of a block of texts."""
        first = len(self.lengths) - len(self) * (len(self.texts) - self.texts.index(name))
        return range(first, first + len(self))

    def row(self, segments: range) -> Row:
        """Neighbouring segments as a row of their own."""
        first, last = sum(self.lengths[: segments.start]), sum(self.lengths[: segments.stop])
        bounds = self.bounds[segments.start : segments.stop + 1] - first
        longest = max(self.lengths[segments.start : segments.stop])
        return Row(self.input_ids[:, first:last], self.position_ids[:, first:last], bounds, longest)

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)


def pack(
    records: Sequence[Record],
    pixel_values: Tensor,
    encoder: Encoder,
    *,
    captioning: bool = False,
    texts: Collection[str] = TEXTS,
) -> PackedBatch:
    """Encodes and packs `records` with their images, (B, 3, H, W), in the same order.

    Args:
        records: the samples.
        pixel_values: their images, processed.
        encoder: makes the token ids.
        captioning: add the captions as language-model targets.
        texts: which texts to add; a step that aligns nothing saves their cost.
    """
    conversations = [encoder.conversation(r) for r in records]
    described = [encoder.captioning(r) for r in records] if captioning else []
    named = tuple(name for name in TEXTS if name in texts)
    alone = [encoder.text(_text(record, name)) for name in named for record in records]
    segments = conversations + described + alone
    repeats = 1 + bool(captioning)
    bounds, position_ids = _bounds(segments)
    return PackedBatch(
        input_ids=_row([s.ids for s in segments]),
        position_ids=position_ids,
        labels=_row([s.labels for s in segments]),
        bounds=bounds,
        lengths=tuple(map(len, segments)),
        pixel_values=pixel_values,
        image_of=torch.arange(len(records)).repeat(repeats),
        captioning=_mark(conversations, described, alone),
        texts=named,
        groups=_groups([r.image for r in records]),
    )


def _text(record: Record, name: str) -> str:
    return record.sentence if name == "answer" else record.caption


def _bounds(segments: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([0] + [len(s) for s in segments])
    positions = torch.cat([torch.arange(n) for n in lengths[1:].tolist()])
    return lengths.cumsum(0).int(), positions[None]


def _row(parts: Sequence[list[int]]) -> Tensor:
    return torch.tensor([token for part in parts for token in part])[None]


def _mark(before: Sequence[Encoded], inside: Sequence[Encoded], after: Sequence[Encoded]) -> Tensor:
    lengths = [sum(map(len, part)) for part in (before, inside, after)]
    return torch.tensor([False, True, False]).repeat_interleave(torch.tensor(lengths))[None]


def _groups(images: Sequence[str]) -> Tensor:
    """Numbers made from the names alone, so that processes of a distributed run agree without talking."""
    return torch.tensor([int.from_bytes(sha256(name.encode()).digest()[:7]) for name in images])
