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
from typing import Any, Literal, Self

import torch
from torch import Tensor

from medmllm.data.conversation import IGNORE, Encoded, Encoder
from medmllm.data.records import Record

TEXTS = ("answer", "caption")  # the texts that a view can be made of, in the order of their blocks


@dataclass(frozen=True, eq=False)
class Row:
    """Segments in one row of T tokens: `input_ids` and `position_ids` (1, T), `bounds` and `longest` as in a batch.

    `read`, (n,), are the places whose last hidden states are read; all where None.
    """

    input_ids: Tensor
    position_ids: Tensor
    bounds: Tensor
    longest: int
    read: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """One step's input.

    Attributes:
        input_ids: (1, T) int64.
        position_ids: (1, T) int64, restarting at 0 in every segment.
        labels: (1, T) int64, -100 where nothing is learnt.
        bounds: (segments + 1,) int32, cumulative segment lengths from 0 to T.
        lengths: length of every segment.
        pixel_values: (I, 3, H, W) float, the images of all samples, one sample after another.
        image_of: int64, which of them is shown at each place for an image, in the order of the row.
        counts: how many images each sample has.
        captioning: (1, T) bool, true where the label belongs to a captioning segment.
        texts: names of the blocks of B text segments at the end.
        groups: (B,) int64; samples of equal number show the same images, or the same person where that is requested,
            and are interchangeable in a matching.
        captions: (B,) int64; samples of equal number have the same caption, and are interchangeable too.
        captioned: (B,) bool, whether a sample has a caption of its own; where not, its segment is read and not used.
        places: (B,) int64, the place of each sample in the global batch; None: process by process, in this order.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    bounds: Tensor
    lengths: tuple[int, ...]
    pixel_values: Tensor
    image_of: Tensor
    counts: tuple[int, ...]
    captioning: Tensor
    texts: tuple[str, ...]
    groups: Tensor
    captions: Tensor
    captioned: Tensor
    places: Tensor | None = None

    def __len__(self) -> int:
        """Number of samples B."""
        return len(self.groups)

    def learnt_tokens(self) -> Tensor:
        """(2,) int64, how many tokens are learnt: of answers, and of captioning."""
        learnt = self.labels != IGNORE
        return torch.stack([(learnt & ~self.captioning).sum(), (learnt & self.captioning).sum()])

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
    places: Sequence[int] | None = None,
    encoded: Sequence[list[Encoded]] | None = None,
    same: Literal["image", "person"] = "image",
) -> PackedBatch:
    """Encode and pack `records` with their images, (I, 3, H, W), in the same order.

    Args:
        records: the samples, of any number of images each.
        pixel_values: the images of one sample after another, processed.
        encoder: makes the token ids.
        captioning: add the captions as language-model targets.
        texts: which texts to add; a step that aligns nothing saves their cost.
        places: the place of each record in the global batch; None: process by process, in this order.
        encoded: the segments of each record, where they are known already.
        same: which records are of one group: those that show the same images, or all of one person.
    """
    rows = encoded or [segments(record, encoder, captioning=captioning, texts=texts) for record in records]
    blocks = [list(block) for block in zip(*rows, strict=True)]
    parts = [segment for block in blocks for segment in block]
    bounds, position_ids = _bounds(parts)
    counts = tuple(len(record.images) for record in records)
    return PackedBatch(
        input_ids=_row([s.ids for s in parts]),
        position_ids=position_ids,
        labels=_row([s.labels for s in parts]),
        bounds=bounds,
        lengths=tuple(map(len, parts)),
        pixel_values=pixel_values,
        image_of=torch.arange(sum(counts)).repeat(1 + bool(captioning)),
        counts=counts,
        captioning=_mark(blocks, 1 if captioning else None),
        texts=tuple(name for name in TEXTS if name in texts),
        groups=_numbers([_shown(record) if same == "image" else record.person for record in records]),
        captions=_numbers([_caption_mark(record, texts) for record in records]),
        captioned=torch.tensor([not record.caption_missing for record in records]),
        places=None if places is None else torch.tensor(places),
    )


def segments(record: Record, encoder: Encoder, *, captioning: bool, texts: Collection[str]) -> list[Encoded]:
    """A record's segments, in the order of their blocks."""
    described = [encoder.captioning(record)] if captioning else []
    if record.caption_missing:
        described = [Encoded(s.ids, [IGNORE] * len(s.ids)) for s in described]
    return [encoder.conversation(record), *described, *(encoder.text(_text(record, n)) for n in TEXTS if n in texts)]


def _shown(record: Record) -> str:
    """What two samples with the same images have in common."""
    return "\0".join(record.images) or f"\0{record.id}"


def _caption_mark(record: Record, texts: Collection[str]) -> str:
    """What samples with one caption share; those whose caption is not read, or missing, share no more than images."""
    return record.caption if "caption" in texts and not record.caption_missing else f"\0{_shown(record)}"


def _text(record: Record, name: str) -> str:
    return record.sentence if name == "answer" else record.caption


def _bounds(segments: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([0] + [len(s) for s in segments])
    bounds = lengths.cumsum(0)
    positions = torch.arange(int(bounds[-1])) - bounds[:-1].repeat_interleave(lengths[1:])
    return bounds.int(), positions[None]


def _row(parts: Sequence[list[int]]) -> Tensor:
    return torch.tensor([token for part in parts for token in part])[None]


def _mark(blocks: Sequence[Sequence[Encoded]], marked: int | None) -> Tensor:
    """(1, T), true in the block of that number."""
    lengths = torch.tensor([sum(map(len, block)) for block in blocks])
    return (torch.arange(len(blocks)) == (-1 if marked is None else marked)).repeat_interleave(lengths)[None]


def interchangeable(marks: Tensor) -> Tensor:
    """Groups of samples that share a mark, or are linked by others that do: (B,) int64, the same number in a group.

    Args:
        marks: (B, k) int64: a sample's image, its caption; or (B,), which are groups already.

    Example:
        >>> interchangeable(torch.tensor([[1, 7], [1, 8], [2, 8], [3, 9]])).tolist()
        [0, 0, 0, 3]
    """
    if marks.ndim == 1 or not len(marks):
        return marks.flatten()
    linked = (marks[:, None] == marks[None]).any(-1)
    numbers = torch.arange(len(marks), device=marks.device)
    while True:
        least = torch.where(linked, numbers, len(marks)).amin(1)
        if bool((least == numbers).all()):
            return numbers
        numbers = least


def _numbers(names: Sequence[str]) -> Tensor:
    """Numbers made from the names alone, so that processes of a distributed run agree without talking."""
    return torch.tensor([int.from_bytes(sha256(name.encode()).digest()[:7]) for name in names])
