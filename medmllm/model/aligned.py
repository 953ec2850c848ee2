r"""The training objective: next-token loss plus graph alignment of the three views.

    $L = L_{answers} + \alpha L_{align} + \gamma L_{captions}$

$L_{align}$ is a loss of graphalign's, `AlignmentLoss` or a baseline, over the views *image* (mean projected patch),
*answer* and *caption* (mean last hidden states of the texts read on their own, or as `align.view` says), or over their
tokens. $\alpha$ may change over the steps (`medmllm.settings.stages.alignment_weight`).
$\gamma$ (`train.caption_weight`) is the control without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphalign
from graphalign.distributed import gather, gather_tokens, world_size
from medmllm.data.packing import PackedBatch, interchangeable
from medmllm.distributed import summed
from medmllm.model.packed import PackedLlava, PackedOutput
from medmllm.settings.schema import Config


@dataclass(frozen=True, eq=False)
class Views:
    """Input of the alignment loss.

    Attributes:
        values: name -> pooled views (V, d), or tokens (V, t, d).
        masks: name -> (V, t) bool, true at real tokens; empty for pooled views.
        groups: (V, 2) int64, image and caption: samples that share one are interchangeable; (V,) groups once gathered.
        captioned: (V,) bool, whether the view's sample has a caption of its own.
        places: (V,) int64, the place of each view's sample in the global batch; None: process by process.

    There is a view for every sample, except for samples of several images or none (`medmllm.model.views.ImageNodes`).
    """

    values: dict[str, Tensor]
    masks: dict[str, Tensor]
    groups: Tensor
    captioned: Tensor
    places: Tensor | None

    @classmethod
    def of(cls, out: PackedOutput, batch: PackedBatch, *, tokens: bool) -> Self:
        """The views of one pass, pooled or as tokens."""
        marks, places = torch.stack([batch.groups, batch.captions], 1), batch.places
        captioned, own = batch.captioned, out.samples
        if own is not None:
            marks, captioned, places = marks[own], captioned[own], None if places is None else places[own]
        return cls(out.tokens if tokens else out.views, out.masks, marks, captioned, places)

    def __len__(self) -> int:
        """Number of views V."""
        return len(self.groups)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The views of several passes, one after another; tokens padded to the longest."""
        values = {name: _stacked([part.values[name] for part in parts]) for name in parts[0].values}
        masked = dict.fromkeys(name for part in parts for name in part.masks)
        masks = {name: _stacked([part.mask(name) for part in parts]) for name in masked}
        places = [part.places for part in parts if part.places is not None]
        groups, captioned = (torch.cat([getattr(part, name) for part in parts]) for name in ("groups", "captioned"))
        return cls(values, masks, groups, captioned, torch.cat(places) if places else None)

    def mask(self, name: str) -> Tensor:
        """(V, t) which tokens of a view are real."""
        tokens = self.values[name]
        return self.masks.get(name, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))

    def collecting(self) -> Self:
        """The same values, which keep the gradient that comes to them; variables of their own where nothing learns."""
        values = {name: x if x.requires_grad else x.detach().requires_grad_() for name, x in self.values.items()}
        for x in values.values():
            x.retain_grad()
        return replace(self, values=values)

    def leaves(self) -> Self:
        """The same values as variables of their own, which collect a gradient."""
        return replace(self, values={name: x.detach().requires_grad_() for name, x in self.values.items()})

    def carrying(self, leaves: Views, row: int) -> Tensor:
        """A scalar whose gradient with respect to these values is that of the leaves' rows from `row` on."""
        total = torch.zeros((), device=self.groups.device)
        for name, x in self.values.items():
            gradient = leaves.values[name].grad
            if gradient is not None:
                rows = gradient[row : row + len(x)]
                total = total + (x * (rows[:, : x.shape[1]] if x.ndim == 3 else rows)).sum()
        return total

    def gathered(self) -> Self:
        """The views of all processes in the order of the global batch, live where they are this process's own."""
        device, counts = self.groups.device, [len(self)]
        if world_size() > 1:
            counts = gather(torch.tensor(counts, device=device)).tolist()
        even = self if len(set(counts)) == 1 else self._lengthened(max(counts))
        real = torch.cat([torch.arange(n, device=device) + rank * max(counts) for rank, n in enumerate(counts)])
        order: Any = slice(None) if even is self else real
        if even.places is not None:
            order = real[gather(even.places)[real].argsort(stable=True)]
        groups = interchangeable(gather(even.groups)[order])
        captioned = gather(even.captioned)[order]
        if not even.masks:
            values = {name: gather(x, averaged=True)[order] for name, x in even.values.items()}
            return replace(self, values=values, groups=groups, captioned=captioned)
        sets = {name: gather_tokens(x, even.masks.get(name), averaged=True) for name, x in even.values.items()}
        values, masks = ({name: pair[i][order] for name, pair in sets.items()} for i in (0, 1))
        return type(self)(values, masks, groups, captioned, self.places)

    def present(self) -> dict[str, Tensor] | None:
        """Which samples have which view, as the alignment loss takes it; None where nothing is missing."""
        whole = "caption" not in self.values or bool(self.captioned.all())
        return None if whole else {"caption": self.captioned}

    def _lengthened(self, count: int) -> Self:
        """The same with rows of zeros at the end, as many as it takes: processes exchange equally many."""

        def longer(x: Tensor) -> Tensor:
            return torch.cat([x, x.new_zeros(count - len(x), *x.shape[1:])])

        return type(self)(
            {name: longer(x) for name, x in self.values.items()},
            {name: longer(self.mask(name)) for name in self.values if self.masks},
            longer(self.groups),
            longer(self.captioned),
            None if self.places is None else longer(self.places),
        )


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
        self.packed, self.align_config = packed, config.align  # a Trainer writes into what is called `config`
        self.alignment: Any = alignment
        self.weight, self.caption_weight = config.align.weight, config.train.caption_weight

    def forward(
        self, batch: PackedBatch, generator: torch.Generator | None = None, *, weight: float | None = None
    ) -> StepOutput:
        """`training_step` on one pass; the caller goes back from its `loss`.

        Args:
            batch: this process's samples.
            generator: source of the matching's noise, in the same state on every process.
            weight: alpha of this step; the configuration's where None; with 0 nothing is aligned.
        """
        return training_step(self, [batch], self.weight if weight is None else weight, generator)

    def align(self, views: Views, generator: torch.Generator | None) -> graphalign.AlignmentOutput | None:
        """The alignment loss over the global batch, in full precision whatever the pass ran in.

        None where no sample of it has an image. A loss with prototypes gets the word embeddings as they are now.

        Raises:
            FloatingPointError: the views are not finite: training has diverged, and there is nothing to match.
        """
        if not all(bool(x.isfinite().all()) for x in views.values.values()):
            raise FloatingPointError("the pooled views are not finite")
        if hasattr(self.alignment, "set_prototypes"):
            self.alignment.set_prototypes(self.packed.llava.get_input_embeddings().weight)
        world = views.gathered()
        if len(world) == 0:
            return None
        present = world.present()
        missing: dict[str, Any] = {} if present is None else {"present": present}
        with torch.autocast(views.groups.device.type, enabled=False):
            return self.alignment(
                world.values, masks=world.masks or None, groups=world.groups, generator=generator, **missing
            )


def training_step(
    model: AlignedLlava,
    passes: Sequence[PackedBatch],
    weight: float,
    generator: torch.Generator | None = None,
    *,
    read: Callable[[int, bool], PackedOutput] | None = None,
    scale: Callable[[Tensor], Tensor] | None = None,
) -> StepOutput:
    """The losses of a global batch and, with `scale`, their gradient in every parameter.

    The graph spans all processes and passes. With several passes the views come from a first reading without gradient;
    the alignment's gradient is taken with respect to them, and the passes are read again, each carrying its rows of it
    on into the model (GradCache, arXiv 2101.06983).

    Processes average their gradients. A process adds only its own tokens to the mean token loss, so that part is
    multiplied by the number of processes. The alignment loss is whole on every process: its own weights get the right
    gradient as it is, and only what flows back into this process's views is multiplied (where views are gathered).

    Args:
        model: the weights, and what aligns the views.
        passes: this process's samples, in as many parts as its memory needs.
        weight: alpha; with 0 nothing is aligned.
        generator: source of the matching's noise, in the same state on every process.
        read: gives the pass of a number, with its views' tokens if wanted; by default the packed model reads it.
        scale: multiplies a loss before its gradient is taken, as fp16 needs it. Without it no gradient is taken: the
            caller does that, from `loss`, which a single pass holds whole.
    """
    if scale is None and len(passes) > 1:
        raise ValueError("the loss of several passes has no graph to go back through: give a `scale`")
    read = read or (lambda number, tokens: model.packed(passes[number], tokens=tokens))
    tokens, once = weight > 0 and model.alignment.reads_tokens, len(passes) == 1
    outs: list[PackedOutput] = []
    views, alignment = None, None
    if weight > 0:
        with torch.set_grad_enabled(once and torch.is_grad_enabled()):
            outs = [read(number, tokens) for number in range(len(passes))]
        parts = [Views.of(out, batch, tokens=tokens) for out, batch in zip(outs, passes, strict=True)]
        views = parts[0].collecting() if once else Views.joined(parts).leaves()
        alignment = model.align(views, generator)
        if scale is not None and alignment is not None and not once:
            scale(weight * alignment.loss).backward()
    counts, shares, row = token_counts(passes), [], 0
    for number, batch in enumerate(passes):
        out = outs[number] if once and outs else read(number, tokens)
        answers, captions = out.answer_loss / counts[0], out.caption_loss / counts[1]
        loss = world_size() * (answers + model.caption_weight * captions)
        if alignment is not None and once:
            loss = loss + weight * alignment.loss
        if scale is not None:
            loss = scale(loss)
            if views is not None and not once:
                own = Views.of(out, batch, tokens=tokens)
                loss, row = loss + own.carrying(views, row), row + len(own)
            loss.backward()
        shares.append(torch.stack([answers.detach(), captions.detach()]))
    answers, captions = summed(torch.stack(shares).sum(0))
    return StepOutput(loss, answers, captions, (views.values if views else out.views), alignment)


def token_counts(batches: Sequence[PackedBatch]) -> Tensor:
    """(2,) learnt tokens of the global batch, answers' and captions', at least one."""
    counts = torch.stack([batch.learnt_tokens() for batch in batches]).sum(0)
    return summed(counts).clamp(min=1)


def _stacked(parts: list[Tensor]) -> Tensor:
    """Rows of several tensors; where they hold tokens, padded to the most."""
    if parts[0].ndim == 2 and parts[0].dtype != torch.bool:
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in parts])
