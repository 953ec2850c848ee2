"""Measurements on held-out records while training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from medmllm.build import Job
from medmllm.evaluate.evaluate import predict
from medmllm.evaluate.exam import drawn
from medmllm.evaluate.matching import match_held_out
from medmllm.run.folder import MATCHING_AFTER, MATCHING_BEFORE, RunFolder
from medmllm.text.answers import same_answer


def validated(job: Job, run: RunFolder, step: int, device: torch.device) -> dict[str, Any]:
    """Matching accuracy and, after the first step, exact answers.

    Every process answers all questions: shards must be gathered by all at the same time.
    """
    config, records = job.config, drawn(job.splits["validation"], job.config.eval.validation_limit)
    matching = match_held_out(job.model, job.reader, records, config.train.batch_size, device)
    if step in (0, config.train.steps):
        run.write_json(MATCHING_AFTER if step else MATCHING_BEFORE, matching.to_dict())
    figures: dict[str, Any] = {"matching_accuracy": matching.accuracy, "matching_chance": matching.chance}
    if step:
        with gathered_root(job.model.packed):
            samples = predict(job.model.packed.llava, job.reader, records, config.eval)
        right = [same_answer(s.prediction, s.record.answer) for s in samples]
        figures |= {"accuracy": sum(right) / len(right), "n": len(right)}
    return figures


@contextmanager
def gathered_root(model: nn.Module) -> Iterator[None]:
    """Inside, what FSDP shards outside of the layers is whole: generation calls parts of the model one by one."""
    if isinstance(model, FSDPModule):
        model.unshard()
    try:
        yield
    finally:
        if isinstance(model, FSDPModule):
            model.reshard()
