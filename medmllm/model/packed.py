r"""One pass over a packed row gives what three padded passes gave: losses and the pooled views of each sample.

Segments attend only to themselves (`medmllm.model.attention`), so hidden states, losses and gradients equal those of
separate passes; `tests/medmllm/model/test_packed.py` proves it and fails when segments leak.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from medmllm.data.conversation import IGNORE
from medmllm.data.packing import PackedBatch, Row
from medmllm.model.attention import attend_by_segments
from medmllm.model.last_layer import skip_unread
from medmllm.model.views import ImageNodes, Nodes, Pieces, alone, first_layers, in_conversation, wide

View = Literal["standalone", "embed", "lm_leaky"]


class PackedOutput(NamedTuple):
    """Values that a step reads off the pass.

    Attributes:
        answer_loss: () float32, summed negative log-likelihood of the answers' tokens.
        answer_tokens: () int64, how many there are.
        caption_loss: () float32, the same over captioning segments (0 without them).
        caption_tokens: () int64.
        views: name -> (V, d) float32 pooled views: image, and answer and caption where the batch has its texts.
        tokens: name -> (V, t, d) float32 what the views are means of, zero at padding; empty unless asked for.
        masks: name -> (V, t) bool, true at real tokens, for the views whose samples differ in length.
        samples: (V,) int64, the sample that each view is of; None where every sample has one, in order.
    """

    answer_loss: Tensor
    answer_tokens: Tensor
    caption_loss: Tensor
    caption_tokens: Tensor
    views: dict[str, Tensor]
    tokens: dict[str, Tensor]
    masks: dict[str, Tensor]
    samples: Tensor | None = None


class PackedLlava(nn.Module):
    """A stock LLaVA that reads packed batches.

    Args:
        llava: the model.
        view: where the text views come from; see `medmllm.model.views`.
        caption_grad: whether the caption's view has a gradient; without one it costs a third.
        layer: decoder layer after which the texts are pooled; the last where None. Texts cost so much less.
        nodes: what the image view of a sample with several images is; see `medmllm.model.views.ImageNodes`.
    """

    def __init__(
        self,
        llava: LlavaForConditionalGeneration,
        *,
        view: View = "standalone",
        caption_grad: bool = True,
        layer: int | None = None,
        nodes: Nodes = "mean",
    ) -> None:
        super().__init__()
        self.llava = llava
        self.view, self.caption_grad, self.layer, self.nodes = view, caption_grad, layer, nodes
        attend_by_segments(llava.model.language_model)
        skip_unread(llava.model.language_model)

    def forward(self, batch: PackedBatch, *, tokens: bool = False) -> PackedOutput:
        """One pass; cost: the tower once per image, the language model once per token.

        Args:
            batch: the samples.
            tokens: give the views' tokens too.
        """
        images = self.image_features(batch.pixel_values)
        main = range(self._main(batch))
        learnt = (batch.labels[0] != IGNORE).nonzero()[:, 0]
        row = replace(batch.row(main), read=self._places(batch, main, learnt))
        hidden = self._read(row, images[batch.image_of])
        answers, captions = self._losses(hidden, batch, learnt)
        texts = self._texts(hidden, batch, main)
        nodes = ImageNodes.of(batch.counts, self.nodes, images.device)
        means = {"image": nodes.means(images), **nodes.own({name: pieces.means() for name, pieces in texts.items()})}
        if not tokens:
            return PackedOutput(*answers, *captions, means, {}, {}, nodes.samples)
        padded = {name: pieces.padded() for name, pieces in texts.items()}
        image, real = nodes.tokens(images)
        sets = {"image": image, **nodes.own({name: x for name, (x, _) in padded.items()})}
        masks = nodes.own({name: mask for name, (_, mask) in padded.items()}) | (
            {} if real is None else {"image": real}
        )
        return PackedOutput(*answers, *captions, means, sets, masks, nodes.samples)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Projected patches, (I, N, d).

        Without any image one is read and left out, so that every step reaches the same weights on every process.
        """
        count = len(pixel_values)
        pixels = pixel_values if count else pixel_values.new_zeros(1, *pixel_values.shape[1:])
        features = self.llava.model.get_image_features(pixels.to(self.llava.dtype), return_dict=True)
        return torch.stack(list(features.pooler_output))[:count]

    def _main(self, batch: PackedBatch) -> int:
        """How many segments the main row has: all but the texts that are read in another way than the rest."""
        joined = 0
        if self.view != "embed" and self.layer is None:
            joined = sum(name != "caption" or self.caption_grad for name in batch.texts)
        return len(batch.lengths) - len(batch) * (len(batch.texts) - joined)

    def _places(self, batch: PackedBatch, main: range, learnt: Tensor) -> Tensor:
        """(n,) the places of the main row that losses or views are read off, ascending."""
        read = torch.zeros(sum(batch.lengths[: main.stop]), dtype=torch.bool, device=learnt.device)
        read[learnt - 1] = True
        if self.view == "lm_leaky" and batch.texts:
            read[learnt] = True
        read[sum(batch.lengths[: len(batch.lengths) - len(batch) * len(batch.texts)]) :] = True
        return read.nonzero()[:, 0]

    def _texts(self, hidden: Tensor, batch: PackedBatch, main: range) -> dict[str, Pieces]:
        """Every text view's tokens: out of the main row, or read here."""
        found = {}
        for name in batch.texts:
            block = batch.block(name)
            inside = block.stop <= main.stop
            found[name] = alone(hidden, batch, block) if inside else self._text(name, batch, block)
        if self.view == "lm_leaky" and batch.texts:
            found = {"answer": in_conversation(hidden, batch)} | {k: v for k, v in found.items() if k != "answer"}
        return found

    def _text(self, name: str, batch: PackedBatch, block: range) -> Pieces:
        """A block of texts in a pass of its own."""
        row = batch.row(block)
        with torch.set_grad_enabled(torch.is_grad_enabled() and (name != "caption" or self.caption_grad)):
            if self.view == "embed":
                return Pieces(self._embedded(row)[0], row.bounds.diff())
            with first_layers(self.llava.model.language_model, self.layer):
                return Pieces(self._read(row), row.bounds.diff())

    def _embedded(self, row: Row) -> Tensor:
        return self.llava.model.get_input_embeddings()(row.input_ids)

    def _read(self, row: Row, images: Tensor | None = None) -> Tensor:
        """(T, d) last hidden states, whole where they are read; images take the places of their tokens, in order."""
        model: Any = self.llava.model
        embedded = self._embedded(row)
        if images is not None:
            places = (row.input_ids == model.config.image_token_id)[..., None]
            embedded = embedded.masked_scatter(places, images.to(embedded.dtype))
        return model.language_model(
            inputs_embeds=embedded,
            position_ids=row.position_ids,
            use_cache=False,
            bounds=row.bounds,
            longest=row.longest,
            read=row.read,
        ).last_hidden_state[0]

    def _losses(
        self, hidden: Tensor, batch: PackedBatch, learnt: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Summed loss and number of the answers' tokens, and of the captioning's.

        The head runs on supervised places only. A segment's first token is never a label, so no prediction reaches
        over a segment's edge.
        """
        logits = wide(self.llava.lm_head(hidden[learnt - 1]))
        losses = F.cross_entropy(logits, batch.labels[0, learnt], reduction="none")
        captioning = batch.captioning[0, learnt]
        return _total(losses, ~captioning), _total(losses, captioning)


def _total(losses: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    return (losses * counted).sum(), counted.sum()
