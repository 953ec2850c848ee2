"""Which stage a step belongs to, and the learning rate it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

from medmllm.config import StageConfig, TrainConfig


@dataclass(frozen=True)
class Stage:
    """A stage with its steps: `first` inclusive, `end` exclusive, counted over the whole run."""

    config: StageConfig
    first: int
    end: int

    @property
    def name(self) -> str:
        return self.config.name


def stages(train: TrainConfig) -> tuple[Stage, ...]:
    """Cuts `train.steps` in the stages' proportion, to the nearest step; a stage of no steps is left out."""
    total = sum(stage.share for stage in train.stages)
    ends = [round(train.steps * share / total) for share in accumulate(stage.share for stage in train.stages)]
    spans = pairwise([0, *ends])
    return tuple(
        Stage(config, first, end) for config, (first, end) in zip(train.stages, spans, strict=True) if end > first
    )


def stage_at(plan: tuple[Stage, ...], step: int) -> Stage:
    """The stage that holds `step`."""
    return next(stage for stage in plan if step < stage.end)


def learning_rate(train: TrainConfig, stage: Stage, step: int) -> float:
    """Linear warm-up, then half a cosine to zero, anew in every stage."""
    peak = stage.config.lr or train.lr
    position, length = step - stage.first, stage.end - stage.first
    warmup = round(train.warmup * length)
    if position < warmup:
        return peak * (position + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (position - warmup) / max(1, length - warmup)))
