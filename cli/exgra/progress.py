"""How a run goes: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from exgra.screen import duration, lively, percent, say, terminal, without_controls
from medmllm.run.callbacks import Listener

PAUSE = 5.0  # seconds between plain lines


@contextmanager
def listener() -> Iterator[Listener]:
    """A listener that fits the terminal."""
    if not lively():
        yield Lines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.completed}/{task.total}"), BarColumn(24), TextColumn("{task.description}")
    with Progress(*columns, TimeRemainingColumn(), console=terminal(), transient=True) as progress:
        yield Bar(progress)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how many are done and of how many: a line every few seconds, none for the quick."""
    last = time.monotonic()

    def count(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            say(f"{done:,} of {total:,} {what}")

    yield count


@contextmanager
def matching_progress() -> Iterator[Callable[[Any], None]]:
    """A function to call with a `Progress` of the solver sparse: a bar on a terminal, else a line every few seconds."""
    if not lively():
        last = time.monotonic()

        def line(state: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= PAUSE:
                last = time.monotonic()
                say(f"{state.what} {state.done:,} of {state.total:,} · {gap_in_words(state.gap)}")

        yield line
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[gap]}")
    with Progress(*columns, console=terminal(), transient=True) as progress:
        task = progress.add_task("looking at all pairs", total=None, gap="")

        def bar(state: Any) -> None:
            done = {"completed": state.done, "total": state.total} if state.what == "scanned" else {}
            progress.update(task, gap=gap_in_words(state.gap), **done)

        yield bar


def gap_in_words(gap: float) -> str:
    return "no matching yet" if gap == float("inf") else f"gap {gap:.1e}"


def quiet_libraries() -> None:
    """Keep the bars of transformers off the screen: there is one already."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


class Lines(Listener):
    """Plain lines."""

    def __init__(self) -> None:
        self.begin = self.last = time.monotonic()
        self.first: int | None = None

    def message(self, text: str) -> None:
        say(text)

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        now = time.monotonic()
        self.first = self.first or step
        if now - self.last >= PAUSE or step == total:
            self.last = now
            left = (now - self.begin) / (step - self.first + 1) * (total - step)
            say(f"step {step}/{total} · {step_figures(metrics)} · about {duration(left)} left")

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        say(validation(step, metrics))

    def answered(self, count: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= PAUSE:
            self.last = now
            say(f"{count}/{total} answered")


class Bar(Listener):
    """A bar that is redrawn, with the messages above it."""

    def __init__(self, progress: Any) -> None:
        self.progress, self.task = progress, progress.add_task("", total=None)

    def message(self, text: str) -> None:
        self.progress.console.print(without_controls(text), markup=False, highlight=False)

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        self.progress.update(self.task, completed=step, total=total, description=step_figures(metrics))

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.message(validation(step, metrics))

    def answered(self, count: int, total: int) -> None:
        self.progress.update(self.task, completed=count, total=total, description="answered")


def step_figures(metrics: Mapping[str, Any]) -> str:
    text = f"loss {metrics['loss']:.3f}"
    if "matching_accuracy" in metrics:
        text += f" · matching {percent(metrics['matching_accuracy'])}"
    return text


def validation(step: int, metrics: Mapping[str, Any]) -> str:
    from medmllm.evaluate.measurable import measurable

    parts = [f"matching {percent(metrics['matching_accuracy'])} (chance {percent(metrics['matching_chance'])})"]
    if not measurable(metrics["matching_chance"]):
        parts = ["matching not measurable"]
    if "accuracy" in metrics:
        parts.insert(0, f"{percent(metrics['accuracy'])} of the answers right")
    return f"validation after step {step}: {', '.join(parts)}"
