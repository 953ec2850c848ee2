"""Which stage a step belongs to, the learning rate it takes, and the weight of its alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise

from medmllm.settings.schema import AlignConfig, StageConfig, TrainConfig


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
    """Cut `train.steps` in the stages' proportion, to the nearest step; a stage of no steps is left out."""
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
    """Linear warm-up, then half a cosine to zero, in every stage."""
    peak = stage.config.lr or train.lr
    return peak * factor("cosine", train.warmup, step - stage.first, stage.end - stage.first)


def alignment_weight(align: AlignConfig, stage: Stage, step: int) -> float:
    """alpha of a step: 0 where the stage aligns nothing, and between two steps that are `align.every` apart."""
    position, length = step - stage.first, stage.end - stage.first
    if not stage.config.align or position % align.every:
        return 0.0
    return align.weight * factor(align.schedule, align.warmup, position, length)


def factor(shape: str, warmup: float, position: int, length: int) -> float:
    """Share of the peak at `position` of `length` steps: a rise in a line, then `constant`, `linear` or `cosine`."""
    rising = round(warmup * length)
    if position < rising:
        return (position + 1) / rising
    done = (position - rising) / max(1, length - rising)
    return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[shape]


def is_due(done: int, every: int, steps: int) -> bool:
    """Whether what happens every so many steps, and at the end, happens after `done` of `steps`."""
    return done % every == 0 or done == steps
