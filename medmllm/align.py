r"""The training objective: next-token loss plus graph alignment of the three views.

    $L = L_{answers} + \alpha L_{align} + \gamma L_{captions}$

$L_{align}$ is a loss of graphalign's, `AlignmentLoss` or a baseline, over the views *image* (mean projected patch),
*answer* and *caption* (mean last hidden states of the texts read on their own, or as `align.view` says), or over their
tokens. $\alpha$ may change over the steps (`medmllm.schedule.alignment_weight`).
$\gamma$ (`train.caption_weight`) is the control without a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

import graphalign
from graphalign.distributed import gather, gather_tokens, world_size
from medmllm.config import Config
from medmllm.data.packing import TEXTS, PackedBatch
from medmllm.model.packed import PackedLlava, PackedOutput


@dataclass(frozen=True, eq=False)
class StepOutput:
    """Losses of a step and the alignment behind them.

    `loss` is what backward starts from; the others are global figures, equal on every process and detached. `views` are
    what the alignment loss reads, of this process: pooled `(B, d)`, or tokens `(B, t, d)`.
    """

    loss: Tensor
    answer_loss: Tensor
    caption_loss: Tensor
    views: dict[str, Tensor]
    alignment: graphalign.AlignmentOutput | None


class AlignedLlava(nn.Module):
    """The whole trained thing: the language model that is saved, and the alignment that helps to train it."""

    def __init__(self, packed: PackedLlava, alignment: nn.Module, config: Config) -> None:
        super().__init__()
        self.packed, self.config = packed, config.align
        self.alignment: Any = alignment
        self.weight, self.caption_weight = config.align.weight, config.train.caption_weight

    def forward(
        self, batch: PackedBatch, generator: torch.Generator | None = None, *, weight: float | None = None
    ) -> StepOutput:
        """One training step's losses.

        Processes average their gradients. A process adds only its own tokens to the mean token loss, so that part is
        multiplied by the number of processes. The alignment loss is whole on every process: its own weights get the
        right gradient as it is, and only what flows back into this process's views is multiplied (in `align`).

        Args:
            batch: this process's samples.
            generator: source of the matching's noise, in the same state on every process.
            weight: alpha of this step; the configuration's where None; with 0 nothing is aligned.
        """
        weight = self.weight if weight is None else weight
        tokens = weight > 0 and self.alignment.reads_tokens
        out = self.packed(batch, tokens=tokens)
        answers, captions = _global_means(out)
        loss = world_size() * (answers + self.caption_weight * captions)
        alignment = self.align(out, batch, generator) if weight > 0 else None
        if alignment is not None:
            loss = loss + weight * alignment.loss
        return StepOutput(loss, _summed(answers), _summed(captions), out.tokens if tokens else out.views, alignment)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that a batch needs besides its conversations, to be aligned."""
        return tuple(name for name in TEXTS if self.config.view != "lm_leaky" or name != "answer")

    def align(
        self, out: PackedOutput, batch: PackedBatch, generator: torch.Generator | None
    ) -> graphalign.AlignmentOutput:
        """The alignment loss over the global batch, in full precision whatever the pass ran in.

        A loss with prototypes gets the word embeddings as they are at this step.

        Raises:
            FloatingPointError: the views are not finite: training has diverged, and there is nothing to match.
        """
        if not all(bool(view.isfinite().all()) for view in out.views.values()):
            raise FloatingPointError("the pooled views are not finite")
        if hasattr(self.alignment, "set_prototypes"):
            self.alignment.set_prototypes(self.packed.llava.get_input_embeddings().weight)
        views, masks = _gathered(out, tokens=self.alignment.reads_tokens)
        with torch.autocast(batch.input_ids.device.type, enabled=False):
            return self.alignment(views, masks=masks, groups=gather(batch.groups), generator=generator)


def _gathered(out: PackedOutput, *, tokens: bool) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """What the alignment loss reads, of all processes, whose gradients are averaged: views, or tokens and masks."""
    if not tokens:
        return {name: gather(view, averaged=True) for name, view in out.views.items()}, None
    sets = {name: gather_tokens(x, out.masks.get(name), averaged=True) for name, x in out.tokens.items()}
    return {name: x for name, (x, _) in sets.items()}, {name: real for name, (_, real) in sets.items()}


def _global_means(out: PackedOutput) -> tuple[Tensor, Tensor]:
    """This process's share of the mean loss per token over the global batch."""
    counts = _summed(torch.stack([out.answer_tokens, out.caption_tokens])).clamp(min=1)
    return out.answer_loss / counts[0], out.caption_loss / counts[1]


def _summed(x: Tensor) -> Tensor:
    x = x.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(x)
    return x
