r"""Where the text views come from, and what each way costs and risks.

`standalone`
:   The text is read on its own by the language model, and its last hidden states are the view's tokens. Faithful to
    the method; no token sees the image.
`embed`
:   The word embeddings alone, without the language model: nearly free, and blind to the order of words.
`lm_leaky`
:   The answer's hidden states inside the conversation. Free, and it **leaks**: those tokens attend to the image, so
    the answer finds its image without having anything in common with it. On images and answers drawn independently of
    each other the held-out retrieval of 64 is far above chance, where `standalone` stays at it. For ablations only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from medmllm.data.conversation import IGNORE
from medmllm.data.packing import PackedBatch

Nodes = Literal["mean", "first", "each"]


class ImageNodes(NamedTuple):
    """Which images make the image views of a batch: V views of samples that have any number of images.

    By `mean` a sample's view is the mean over the tokens of all its images, by `first` over those of its first; by
    `each` every image is a view, beside the texts of its sample. A sample without an image has no view, and is not
    aligned.

    Attributes:
        counts: (B,) int64, images of each sample.
        way: how.
        samples: (V,) int64, the sample of each view; None where every sample has one image, and one view.
    """

    counts: Tensor
    way: Nodes
    samples: Tensor | None

    @classmethod
    def of(cls, counts: Sequence[int], way: Nodes, device: torch.device) -> Self:
        """The nodes of a batch of samples with so many images."""
        number = torch.tensor(counts, device=device)
        if all(count == 1 for count in counts):
            return cls(number, way, None)
        views = number if way == "each" else number.clamp(max=1)
        places = torch.arange(len(counts), device=device)
        return cls(number, way, places.repeat_interleave(views))

    def own(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Views (B, ...) of samples as (V, ...), one for each image view."""
        return views if self.samples is None else {name: view[self.samples] for name, view in views.items()}

    def means(self, images: Tensor) -> Tensor:
        """(V, d) means over tokens, of images (I, N, d)."""
        means = wide(images).mean(1)
        if self.samples is None or self.way == "each":
            return means
        if self.way == "first":
            return means[self._first()]
        return Pieces(means, self.counts[self.samples]).means()

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(V, t, d) tokens, and (V, t) which are real; None where all are."""
        tokens = wide(images)
        if self.samples is None or self.way == "each":
            return tokens, None
        if self.way == "first":
            return tokens[self._first()], None
        return Pieces(tokens.flatten(0, 1), self.counts[self.samples] * images.shape[1]).padded()

    def _first(self) -> Tensor:
        """(V,) the number of each sample's first image."""
        return (self.counts.cumsum(0) - self.counts)[self.samples]


class Pieces(NamedTuple):
    """Tokens of B texts, one after another: `flat` (T, d) and `lengths` (B,)."""

    flat: Tensor
    lengths: Tensor

    def means(self) -> Tensor:
        """(B, d) means over each text's own tokens: no padding exists, so no neighbour's length can enter."""
        flat, owner = wide(self.flat), self._owner()
        sums = flat.new_zeros(len(self.lengths), flat.shape[-1]).index_add(0, owner, flat)
        return sums / self.lengths[:, None]

    def padded(self) -> tuple[Tensor, Tensor]:
        """(B, t, d) tokens, zero at padding, and (B, t) which of them are real."""
        places = torch.arange(int(self.lengths.max()), device=self.flat.device)
        real = places < self.lengths[:, None]
        flat = wide(self.flat)
        return flat.new_zeros(*real.shape, flat.shape[-1]).masked_scatter(real[..., None], flat), real

    def _owner(self) -> Tensor:
        numbers = torch.arange(len(self.lengths), device=self.flat.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.flat))


def in_conversation(hidden: Tensor, batch: PackedBatch) -> Pieces:
    """The answers' tokens as the conversations have them: every one sees the image (`lm_leaky`)."""
    lengths = torch.tensor(batch.lengths[: len(batch)], device=hidden.device)
    end = sum(batch.lengths[: len(batch)])
    learnt = batch.labels[0, :end] != IGNORE
    return Pieces(hidden[:end][learnt], torch.stack([part.sum() for part in learnt.split(lengths.tolist())]))


def alone(hidden: Tensor, batch: PackedBatch, segments: range) -> Pieces:
    """The tokens of some segments of a row."""
    first, last = sum(batch.lengths[: segments.start]), sum(batch.lengths[: segments.stop])
    lengths = batch.lengths[segments.start : segments.stop]
    return Pieces(hidden[first:last], torch.tensor(lengths, device=hidden.device))


@contextmanager
def first_layers(language_model: nn.Module, count: int | None) -> Iterator[None]:
    """Inside, a pass ends after `count` decoder layers and the final norm; after all of them where None."""
    config: Any = language_model.config
    before = config.num_hidden_layers
    config.num_hidden_layers = before if count is None else count
    try:
        yield
    finally:
        config.num_hidden_layers = before


def wide(x: Tensor) -> Tensor:
    """Half precision is widened before sums over tokens; float32 and float64 stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
