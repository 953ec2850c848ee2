"""A trace of a few steps, for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from medmllm.distributed import process
from medmllm.settings.schema import EngineConfig

FIRST, COUNT = 2, 3  # the first steps allocate and compile, and would mislead


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
