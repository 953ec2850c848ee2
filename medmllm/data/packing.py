r"""Packed batches: every sequence of a step in one row, with the bounds that keep them apart.

A step reads, for samples $1..B$, the segments

    [LM_1 .. LM_B | (captioning_1 .. captioning_B) | answer_1 .. answer_B | caption_1 .. caption_B]

in one row of $T$ tokens without padding. Attention is block-diagonal: a segment sees only itself. The middle block is
there only for the control that learns captions as language-model targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any, Self

import torch
from torch import Tensor

from medmllm.data.conversation import Encoded, Encoder
from medmllm.data.records import Record


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """One step's input.

    Attributes:
        input_ids: (1, T) int64.
        position_ids: (1, T) int64, restarting at 0 in every segment.
        labels: (1, T) int64, -100 where nothing is learnt.
        bounds: (segments + 1,) int32, cumulative segment lengths from 0 to T.
        longest: length of the longest segment.
        pixel_values: (B, 3, H, W) float.
        image_of: (image segments,) int64, which sample's image each segment with an image shows.
        captioning: (1, T) bool, true where the label belongs to a captioning segment.
        texts: number of text segments at the end (2 B: answers, then captions; or none).
        groups: (B,) int64; samples of equal number show the same image and are interchangeable in a matching.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    bounds: Tensor
    longest: int
    pixel_values: Tensor
    image_of: Tensor
    captioning: Tensor
    texts: int
    groups: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved: dict[str, Any] = {name: value.to(device) for name, value in values if isinstance(value, Tensor)}
        return replace(self, **moved)


def pack(
    records: Sequence[Record], pixel_values: Tensor, encoder: Encoder, *, captioning: bool = False, texts: bool = True
) -> PackedBatch:
    """Encodes and packs `records` with their images, (B, 3, H, W), in the same order.

    Args:
        records: the samples.
        pixel_values: their images, processed.
        encoder: makes the token ids.
        captioning: add the captions as language-model targets.
        texts: add the text views; a step that aligns nothing saves their cost.
    """
    conversations = [encoder.conversation(r) for r in records]
    described = [encoder.captioning(r) for r in records] if captioning else []
    views = [*(r.sentence for r in records), *(r.caption for r in records)] if texts else []
    alone = [encoder.text(text) for text in views]
    segments = conversations + described + alone
    repeats = 1 + bool(captioning)
    bounds, position_ids = _bounds(segments)
    return PackedBatch(
        input_ids=_row([s.ids for s in segments]),
        position_ids=position_ids,
        labels=_row([s.labels for s in segments]),
        bounds=bounds,
        longest=int(bounds.diff().max()),
        pixel_values=pixel_values,
        image_of=torch.arange(len(records)).repeat(repeats),
        captioning=_mark(conversations, described, alone),
        texts=len(alone),
        groups=_groups([r.image for r in records]),
    )


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
