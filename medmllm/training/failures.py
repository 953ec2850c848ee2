"""Failures of a step, in words that say what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medmllm.errors import RunError
from medmllm.run.folder import METRICS, RunFolder
from medmllm.settings.schema import Config


@contextmanager
def explained(config: Config, step: int, run: RunFolder) -> Iterator[None]:
    """Turn what the device or the numbers throw into an error that a person can act on."""
    try:
        yield
    except FloatingPointError as error:
        raise diverged(config, step, run, str(error)) from error
    except torch.OutOfMemoryError as error:
        raise out_of_memory(config, step) from error


def diverged(config: Config, step: int, run: RunFolder, what: str) -> RunError:
    """The error of a run whose figures are no longer numbers."""
    return RunError(
        f"training diverged at step {step}, its figures are not finite: {what}",
        where=str(run.path / METRICS),
        hint=f"lower the learning rate, e.g. train.lr={config.train.lr / 3:.1g}",
    )


def out_of_memory(config: Config, step: int) -> RunError:
    """The error of a step that does not fit, with what would make it smaller, cheapest first."""
    return RunError(
        f"the device ran out of memory at step {step}",
        where="train, engine",
        hint="; or ".join(smaller(config)),
    )


def smaller(config: Config) -> list[str]:
    """Settings that need less memory than these, those that cost least first; none changes what is computed but the
    precision and the optimiser."""
    train, engine = config.train, config.engine
    passes = engine.micro_batch or train.batch_size
    found = []
    if train.precision == "fp32" and config.device != "cpu":
        found.append("train.precision=bf16")
    if not train.gradient_checkpointing:
        found.append("train.gradient_checkpointing=true")
    if passes > 1:
        found.append(f"engine.micro_batch={passes // 2}")
    if train.optimizer == "adamw":
        found.append("train.optimizer=adamw8bit")
    if engine.strategy != "fsdp":
        found.append("engine.strategy=fsdp on several GPUs")
    elif not engine.offload:
        found.append("engine.offload=true")
    return found or ["use more or larger GPUs, or a smaller model"]
