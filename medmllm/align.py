r"""The training objective: next-token loss plus graph alignment of the three views.

    $L = L_{answers} + \alpha L_{align} + \gamma L_{captions}$

$L_{align}$ is graphalign's `AlignmentLoss` over the views *image* (mean projected patch), *answer* and *caption* (mean
last hidden states of the texts read on their own). $\gamma$ (`train.caption_weight`) is the control without a graph.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

import graphalign
from graphalign.distributed import gather, world_size
from medmllm.config import AlignConfig, Config
from medmllm.data.packing import PackedBatch
from medmllm.model.packed import PackedLlava, PackedOutput


@dataclass
class Timed:
    """A solver that adds up its own seconds; its facts (order, exactness) stay visible."""

    solver: Any
    seconds: float = field(default=0.0, compare=False)

    def __call__(self, problem: graphalign.Problem) -> graphalign.Solution:
        begin = time.perf_counter()
        solution = self.solver(problem)
        self.seconds += time.perf_counter() - begin
        return solution

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "solver":  # asked for by copying, before there is a solver
            raise AttributeError(name)
        return getattr(self.solver, name)


def build_alignment(config: AlignConfig, width: int, *, seed: int) -> graphalign.AlignmentLoss:
    """The alignment loss that the configuration names, its message passing drawn from `seed` alone."""
    solver = Timed(graphalign.build("solver", config.solver))
    estimator = graphalign.build("estimator", config.estimator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _message_passing(config, width)
    return graphalign.AlignmentLoss(
        graphalign.differentiable(solver, estimator),
        graph=graphalign.build("graph", config.graph),
        affinity=graphalign.build("affinity", config.affinity),
        encoder=encoder,
        barycenter=config.barycenter,
    )


def _message_passing(config: AlignConfig, width: int) -> nn.Module | None:
    if config.message_passing == "none":
        return None
    from graphalign.graphs.message_passing import MessagePassing

    return MessagePassing(width, conv=config.message_passing, layers=config.layers)


@dataclass(frozen=True, eq=False)
class StepOutput:
    """Losses of a step and the alignment behind them.

    `loss` is what backward starts from; the others are global figures, equal on every process and detached.
    """

    loss: Tensor
    answer_loss: Tensor
    caption_loss: Tensor
    views: dict[str, Tensor]
    alignment: graphalign.AlignmentOutput | None


class AlignedLlava(nn.Module):
    """The whole trained thing: the language model that is saved, and the alignment that helps to train it."""

    def __init__(self, packed: PackedLlava, alignment: graphalign.AlignmentLoss, config: Config) -> None:
        super().__init__()
        self.packed, self.alignment = packed, alignment
        self.weight, self.caption_weight = config.align.weight, config.train.caption_weight

    def forward(
        self, batch: PackedBatch, generator: torch.Generator | None = None, *, align: bool = True
    ) -> StepOutput:
        """One training step's losses.

        Processes average their gradients. A process adds only its own tokens to the mean token loss, so that part is
        multiplied by the number of processes. The alignment loss is whole on every process: its own weights get the
        right gradient as it is, and only what flows back into this process's views is multiplied (in `align`).
        """
        out = self.packed(batch)
        answers, captions = _global_means(out)
        loss = world_size() * (answers + self.caption_weight * captions)
        alignment = self.align(out, batch, generator) if align else None
        if alignment is not None:
            loss = loss + self.weight * alignment.loss
        return StepOutput(loss, _summed(answers), _summed(captions), out.views, alignment)

    def align(
        self, out: PackedOutput, batch: PackedBatch, generator: torch.Generator | None
    ) -> graphalign.AlignmentOutput:
        """The alignment loss over the global batch, in full precision whatever the pass ran in.

        Raises:
            FloatingPointError: the views are not finite: training has diverged, and there is nothing to match.
        """
        if not all(bool(view.isfinite().all()) for view in out.views.values()):
            raise FloatingPointError("the pooled views are not finite")
        views = {name: gather(_amplified(view)) for name, view in out.views.items()}
        with torch.autocast(batch.input_ids.device.type, enabled=False):
            return self.alignment(views, groups=gather(batch.groups), generator=generator)


def _amplified(view: Tensor) -> Tensor:
    """The same view, with its gradient multiplied by the number of processes."""
    same, world = view.view_as(view), world_size()
    if same.requires_grad and world > 1:
        same.register_hook(lambda grad: world * grad)
    return same


def _global_means(out: PackedOutput) -> tuple[Tensor, Tensor]:
    """This process's share of the mean loss per token over the global batch."""
    counts = _summed(torch.stack([out.answer_tokens, out.caption_tokens])).clamp(min=1)
    return out.answer_loss / counts[0], out.caption_loss / counts[1]


def _summed(x: Tensor) -> Tensor:
    x = x.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(x)
    return x
