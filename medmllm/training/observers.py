"""Who observes a run besides its listener: trackers of experiments, and the profiler.

Trackers get the figures of `metrics.jsonl` and write into the run's folder alone. accelerate knows how to call each of
them; this module keeps them from calling anybody else.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
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


def _tensorboard(folder: Path, run: Path, project: str) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    return {"logging_dir": str(folder)}


def _wandb(folder: Path, run: Path, project: str) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)  # where it is missing, a temporary folder is taken
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    return {"mode": "offline", "dir": str(folder), "name": run.name}


def _mlflow(folder: Path, run: Path, project: str) -> dict[str, Any]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    folder.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")  # kept open, so the file must stay
    for earlier in mlflow.search_runs(experiment_names=[project], output_format="list"):
        mlflow.delete_run(earlier.info.run_id)
    return {"logging_dir": (folder / "artifacts").as_uri(), "run_name": run.name}


def _trackio(folder: Path, run: Path, project: str) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("SPACE_ID", "SERVER_URL", "BUCKET_ID", "WEBHOOK_URL"):  # places that it would send figures to
        os.environ.pop(f"TRACKIO_{name}", None)
    os.environ["TRACKIO_DIR"] = str(folder)
    for module in [module for module in sys.modules if module.partition(".")[0] == "trackio"]:
        del sys.modules[module]  # it reads its folder when it is imported
    return {"name": run.name, "embed": False, "auto_log_cpu": False, "auto_log_gpu": False}


# Settings with which a tracker writes into a folder and calls nobody. Older lines of this run in it are removed.
OFFLINE: dict[str, Callable[[Path, Path, str], dict[str, Any]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}


@contextmanager
def tracked(config: Config, run: RunFolder, listener: Listener) -> Iterator[Listener]:
    """The listener, and in the first process the trackers of `engine.track` behind it, each in `tracking/NAME`."""
    if isinstance(run, Follower) or not config.engine.track:
        yield listener
        return
    with ExitStack() as opened:
        yield Reporting(listener, config, run, opened)


class Reporting(Listener):
    """Pass on what is heard, and report every figure to the trackers, once.

    A run that is resumed begins its trackers again with the lines of `metrics.jsonl`. Their old contents are removed:
    steps that are done again must not be there twice, and a killed process may have lost the last ones.
    """

    def __init__(self, listener: Listener, config: Config, run: RunFolder, opened: ExitStack) -> None:
        self.listener, self.config, self.run, self.opened = listener, config, run, opened
        self.trackers: list[Any] = []

    def message(self, text: str) -> None:
        self.listener.message(text)

    def begun(self, step: int) -> None:
        for name in dict.fromkeys(self.config.engine.track):
            tracker = _open(name, self.config, self.run.path.absolute())
            self.opened.callback(_quietly, tracker.finish)
            self.trackers.append(tracker)
        for line in self.run.lines():
            if "validation" in line:
                self._report("validation", line["step"], line["validation"])
            else:
                self._report("train", line["step"], {name: value for name, value in line.items() if name != "step"})
        self.listener.begun(step)

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        self._report("train", step, metrics)
        self.listener.step(step, total, metrics)

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._report("validation", step, metrics)
        self.listener.validated(step, metrics)

    def answered(self, count: int, total: int) -> None:
        self.listener.answered(count, total)

    def _report(self, group: str, step: int, metrics: Mapping[str, Any]) -> None:
        figures = {f"{group}/{name}": value for name, value in metrics.items() if isinstance(value, (int, float))}
        for tracker in self.trackers:
            tracker.log(figures, step=step)


def _open(name: str, config: Config, run: Path) -> Any:
    """A tracker that has begun, and knows the settings."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    tracker = LOGGER_TYPE_TO_CLASS[name](config.name, **OFFLINE[name](run / FOLDER / name, run, config.name))
    _quietly(tracker.start)
    settings = leaves(config.model_dump(mode="json"))
    tracker.store_init_configuration({key: "null" if value is None else value for key, value in settings})
    return tracker


def _quietly(call: Callable[[], None]) -> None:
    """Call with what is printed on stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        call()


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
