"""Who observes a run besides its listener: trackers of experiments, and the profiler.

Trackers get the figures of `metrics.jsonl` and write into the run's folder alone. accelerate knows how to call each of
them; this module keeps them from calling anybody else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from medmllm.distributed import process
from medmllm.run.callbacks import Listener
from medmllm.run.folder import Follower, RunFolder
from medmllm.settings.load import leaves
from medmllm.settings.schema import Config, EngineConfig

FOLDER = "tracking"
FIRST, COUNT = 2, 3  # the steps that are traced: the first ones allocate and compile, and would mislead


def _tensorboard(folder: Path) -> dict[str, Any]:
    return {"logging_dir": str(folder)}


def _wandb(folder: Path) -> dict[str, Any]:
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    return {"mode": "offline", "dir": str(folder)}


def _mlflow(folder: Path) -> dict[str, Any]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return {"logging_dir": (folder / "artifacts").as_uri()}


OFFLINE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


@contextmanager
def tracked(config: Config, run: RunFolder, listener: Listener) -> Iterator[Listener]:
    """The listener, and in the first process the trackers of `engine.track` behind it, each in `tracking/NAME`.

    A run that is resumed tells its trackers the steps since its checkpoint once more; `metrics.jsonl` has each once.
    """
    if isinstance(run, Follower) or not config.engine.track:
        yield listener
        return
    with ExitStack() as opened:
        trackers = []
        for name in dict.fromkeys(config.engine.track):
            trackers.append(_open(name, config, run.path.absolute() / FOLDER / name))
            opened.callback(trackers[-1].finish)
        yield Telling(listener, trackers)


class Telling(Listener):
    """Passes on what it hears, and tells every figure to the trackers."""

    def __init__(self, listener: Listener, trackers: Sequence[Any]) -> None:
        self.listener, self.trackers = listener, trackers

    def message(self, text: str) -> None:
        self.listener.message(text)

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        self._tell("train", step, metrics)
        self.listener.step(step, total, metrics)

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._tell("validation", step, metrics)
        self.listener.validated(step, metrics)

    def answered(self, count: int, total: int) -> None:
        self.listener.answered(count, total)

    def _tell(self, group: str, step: int, metrics: Mapping[str, Any]) -> None:
        figures = {f"{group}/{name}": value for name, value in metrics.items() if isinstance(value, (int, float))}
        for tracker in self.trackers:
            tracker.log(figures, step=step)


def _open(name: str, config: Config, folder: Path) -> Any:
    """A tracker that has begun, and knows the settings."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    folder.mkdir(parents=True, exist_ok=True)
    tracker = LOGGER_TYPE_TO_CLASS[name](config.name, **OFFLINE[name](folder))
    tracker.start()
    settings = leaves(config.model_dump(mode="json"))
    tracker.store_init_configuration({key: "null" if value is None else value for key, value in settings})
    return tracker


class Stepped(Protocol):
    def step(self) -> None:
        """A training step is done."""


class Unprofiled:
    """Looks at nothing."""

    def step(self) -> None: ...


@contextmanager
def profiled(engine: EngineConfig, run: Path) -> Iterator[Stepped]:
    """With `engine.profile`, traces steps 3 to 5 into `profile/rank-N.json` of the run's folder."""
    if not engine.profile:
        yield Unprofiled()
        return
    path = run / "profile" / f"rank-{process().rank}.json"
    path.parent.mkdir(exist_ok=True)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]

    def write(found: profile) -> None:
        found.export_chrome_trace(str(path))

    plan = schedule(wait=FIRST - 1, warmup=1, active=COUNT, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler
