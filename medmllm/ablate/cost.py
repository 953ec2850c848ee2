"""The expected cost of a sweep: one short run is timed, part by part, and the parts are scaled to a whole run.

`python -m medmllm.ablate.cost CONFIG FOLDER` makes a run and prints when its parts ended.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from medmllm.ablate.sweep import Sweep, in_process
from medmllm.build import read_data
from medmllm.planning.plan import plan
from medmllm.run.callbacks import Listener
from medmllm.run.folder import TIMINGS, RunFolder
from medmllm.settings.load import load_config
from medmllm.settings.schema import Config
from medmllm.training.trainer import train

STEPS = 6


@dataclass(frozen=True)
class Estimate:
    """The expected cost of a sweep.

    Attributes:
        runs: how many are missing.
        finished: how many are there already.
        skipped: how many do not fit together.
        minutes: until the missing runs are done, if all take as long as the first; None where nothing is missing or
            nothing could be timed.
        disk_mb: what the missing runs will hold.
    """

    runs: int
    finished: int
    skipped: int
    minutes: float | None
    disk_mb: float


def estimate_sweep(sweep: Sweep, jobs: int = 1) -> Estimate:
    """The plan of a sweep; times a few steps and a few questions of the first missing run, in a folder thrown away."""
    missing, outcomes = sweep.missing(), sweep.outcomes()
    first = missing[0].config if missing else None
    seconds = seconds_of(first, jobs) if first else None
    minutes = None if seconds is None else seconds * -(-len(missing) // jobs) / 60
    disk = plan(first).disk_mb * len(missing) if first else 0.0
    count = [outcome.status for outcome in outcomes].count
    return Estimate(len(missing), count("done"), count("skipped"), minutes, round(disk, 1))


def seconds_of(config: Config, jobs: int = 1) -> float | None:
    """How long a run takes with its share of the cores; None where the probe failed."""
    with tempfile.TemporaryDirectory() as place:
        folder, begin = Path(place) / "probe", time.perf_counter()
        done = in_process("medmllm.ablate.cost", shortened(config), folder, jobs)
        whole = time.perf_counter() - begin
        if done.returncode:
            return None
        steps = [line["seconds"] for line in RunFolder(folder).lines(TIMINGS)]
    return whole + rest(config, median(steps), json.loads(done.stdout.splitlines()[-1]))


def shortened(config: Config) -> Config:
    """The same run with few steps, and one batch of questions at a time."""
    steps, batch = min(STEPS, config.train.steps), config.eval.batch_size
    few = {"validation_limit": min(batch, config.eval.validation_limit or batch), "test_limit": batch}
    return config.model_copy(
        update={
            "train": config.train.model_copy(update={"steps": steps, "eval_every": steps}),
            "eval": config.eval.model_copy(update=few),
        }
    )


def rest(config: Config, step: float, batch: float) -> float:
    """Seconds that a run takes beyond its probe, from those of a step and of a batch of questions."""
    probe = shortened(config)
    more = batches(config) - batches(probe)
    return step * (config.train.steps - probe.train.steps) + batch * more


def batches(config: Config) -> int:
    """Batches of questions that a run answers, in its validations and at its end."""
    _, splits, _ = read_data(config.data)

    def count(split: str, limit: int | None) -> int:
        return -(-min(len(splits.get(split, ())), limit or sys.maxsize) // config.eval.batch_size)

    validations = -(-config.train.steps // config.train.eval_every)
    tests = sum(count(split, config.eval.test_limit) for split in config.eval.splits)
    return validations * count("validation", config.eval.validation_limit) + tests


@dataclass
class Clock(Listener):
    """Times the answering of the validation questions."""

    last: float = field(default_factory=time.perf_counter)
    answering: float = 0.0

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        self.last = time.perf_counter()

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.answering = time.perf_counter() - self.last


def time_run(config: str, folder: str) -> int:
    """Make a run and print the seconds that its validation took."""
    clock = Clock()
    train(load_config(config), Path(folder), listener=clock)
    sys.stdout.write(json.dumps(clock.answering))
    return 0


if __name__ == "__main__":
    raise SystemExit(time_run(*sys.argv[1:]))
