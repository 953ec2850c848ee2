r"""One pass over a packed row gives what three padded passes gave: losses and the pooled views of each sample.

Segments attend only to themselves (`medmllm.model.attention`), so hidden states, losses and gradients equal those of
separate passes; `tests/medmllm/model/test_packed.py` proves it and fails when segments leak.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaForConditionalGeneration

from medmllm.data.conversation import IGNORE
from medmllm.data.packing import PackedBatch
from medmllm.model.attention import attend_by_segments


@dataclass(frozen=True, eq=False)
class PackedOutput:
    """What a step reads off the pass.

    Attributes:
        answer_loss: () float32, summed negative log-likelihood of the answers' tokens.
        answer_tokens: () int64, how many there are.
        caption_loss: () float32, the same over captioning segments (0 without them).
        caption_tokens: () int64.
        views: name -> (B, d) float32 pooled views: image, and answer and caption where the batch has its texts.
        tokens: name -> (B, t, d) float32 what the views are means of, zero at padding; empty unless asked for.
        masks: name -> (B, t) bool, true at real tokens, for the views whose samples differ in length.
    """

    answer_loss: Tensor
    answer_tokens: Tensor
    caption_loss: Tensor
    caption_tokens: Tensor
    views: dict[str, Tensor]
    tokens: dict[str, Tensor]
    masks: dict[str, Tensor]


class PackedLlava(nn.Module):
    """A stock LLaVA that reads packed batches."""

    def __init__(self, llava: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.llava = llava
        attend_by_segments(llava.model.language_model)

    def forward(self, batch: PackedBatch, *, tokens: bool = False) -> PackedOutput:
        """One pass; cost: the tower once per image, the language model once per token.

        Args:
            batch: the samples.
            tokens: give the views' tokens too.
        """
        images = self.image_features(batch.pixel_values)
        hidden = self._read(batch, images)
        losses = self._token_losses(hidden, batch)
        answers, answer_count = _total(losses, ~batch.captioning, batch)
        captions, caption_count = _total(losses, batch.captioning, batch)
        sets, masks = _token_sets(images, hidden, batch) if tokens else ({}, {})
        views = _views(images, hidden, batch)
        return PackedOutput(answers, answer_count, captions, caption_count, views, sets, masks)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Projected patches, (B, N, d)."""
        features = self.llava.model.get_image_features(pixel_values.to(self.llava.dtype), return_dict=True)
        return torch.stack(list(features.pooler_output))

    def _read(self, batch: PackedBatch, images: Tensor) -> Tensor:
        model = self.llava.model
        embedded = model.get_input_embeddings()(batch.input_ids)
        places = (batch.input_ids == model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(places, images[batch.image_of].to(embedded.dtype))
        return model.language_model(
            inputs_embeds=embedded,
            position_ids=batch.position_ids,
            use_cache=False,
            bounds=batch.bounds,
            longest=batch.longest,
        ).last_hidden_state[0]

    def _token_losses(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """(T,) float32 losses of predicting each label from the token before it; 0 where nothing is learnt.

        The head runs on supervised places only. A segment's first token is never a label, so no prediction reaches
        over a segment's edge.
        """
        labels = batch.labels[0]
        learnt = (labels != IGNORE).nonzero()[:, 0]
        logits = _wide(self.llava.lm_head(hidden[learnt - 1]))
        losses = F.cross_entropy(logits, labels[learnt], reduction="none")
        return losses.new_zeros(len(labels)).index_put((learnt,), losses)


def _total(losses: Tensor, where: Tensor, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    counted = where[0] & (batch.labels[0] != IGNORE)
    return (losses * counted).sum(), counted.sum()


def _views(images: Tensor, hidden: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
    """Means over each view's own tokens: no padding exists, so no neighbour's length can enter."""
    image = _wide(images).mean(1)
    if not batch.texts:
        return {"image": image}
    answer, caption = _segment_means(hidden, batch.bounds)[-batch.texts :].chunk(2)
    return {"image": image, "answer": answer, "caption": caption}


def _token_sets(images: Tensor, hidden: Tensor, batch: PackedBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every view's own tokens, padded, and which of them are real."""
    tokens, masks = {"image": _wide(images)}, {}
    if batch.texts:
        pieces = _wide(hidden).split(batch.bounds.diff().tolist())[-batch.texts :]
        half = batch.texts // 2
        for name, part in (("answer", pieces[:half]), ("caption", pieces[half:])):
            tokens[name] = pad_sequence(part, batch_first=True)
            lengths = torch.tensor([len(piece) for piece in part], device=hidden.device)
            masks[name] = torch.arange(tokens[name].shape[1], device=hidden.device) < lengths[:, None]
    return tokens, masks


def _segment_means(hidden: Tensor, bounds: Tensor) -> Tensor:
    lengths = bounds.diff().long()
    segment = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)
    hidden = _wide(hidden)
    sums = hidden.new_zeros(len(lengths), hidden.shape[-1]).index_add(0, segment, hidden)
    return sums / lengths[:, None]


def _wide(x: Tensor) -> Tensor:
    """Half precision is widened before sums over tokens; float32 and float64 stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
