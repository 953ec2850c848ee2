"""Which share of a run's steps is spent waiting for data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medmllm.build import build_job
from medmllm.distributed import process, process_group
from medmllm.planning.plan import check_config
from medmllm.run.callbacks import Listener
from medmllm.run.folder import TIMINGS, Follower
from medmllm.settings.schema import Config
from medmllm.training.loader import Steps, load_batches
from medmllm.training.parallel import open_accelerator, release
from medmllm.training.trainer import Trainer

WARMUP = 2  # steps in which workers start


class Timings(Follower):
    """Keeps the times of steps and writes nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kept: list[Mapping[str, Any]] = []

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        if name == TIMINGS:
            self.kept.append(line)


def waiting(config: Config, steps: int) -> dict[str, Any]:
    """Run a few steps of the last stage and give what they took.

    Args:
        config: of a run; nothing is written.
        steps: how many are measured, after two in which workers start.

    Raises:
        UserError: configuration or data are such that a run would not begin.

    Returns:
        `workers`; `seconds`, mean time of a step; `waiting`, the share of it in which the next batch was not there yet.
    """
    check_config(config)
    train = config.train.model_copy(update={"steps": WARMUP + steps, "stages": config.train.stages[-1:]})
    config = config.model_copy(update={"train": train})
    alone = config.engine.strategy == "fsdp"
    with process_group(alone=alone), tempfile.TemporaryDirectory() as place:
        counted = _train(config, WARMUP + steps, Timings(Path(place)))[WARMUP:]
    whole, idle = (sum(line[key] for line in counted) for key in ("seconds", "waiting_seconds"))
    return {"workers": config.engine.workers, "seconds": whole / len(counted), "waiting": idle / whole}


def _train(config: Config, steps: int, folder: Timings) -> list[Mapping[str, Any]]:
    """Train for some steps; their timings."""
    trainer = Trainer(build_job(config), folder, Listener(), open_accelerator(config))
    trainer.enter(trainer.plan[0])
    batches = load_batches(Steps(trainer.job, process()), 0, trainer.device)
    for step in range(steps):
        trainer.step(step, batches)
    release(trainer.net)
    return folder.kept
