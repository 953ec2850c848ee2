"""How a sweep goes: a table that is redrawn on a terminal, plain lines elsewhere; and the ranking at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from exgra.screen import WIDTH, duration, lively, percent, put, put_table, say, terminal, without_controls

if TYPE_CHECKING:
    from medmllm.ablate.results import Arm, Results
    from medmllm.ablate.sweep import Outcome, Sweep

SHOWN = 12  # points of the live table


@contextmanager
def watcher(sweep: Sweep) -> Iterator[Lines]:
    """What hears of every run that ends, as fits the terminal."""
    if not lively():
        yield Lines(sweep)
        return
    from rich.live import Live

    console = terminal()
    with Live(console=console, transient=True, refresh_per_second=1) as live:
        yield Table(sweep, live)


class Lines:
    """A line for every run that ends, and who is in front."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.begin = sweep, time.monotonic()

    def __call__(self, outcome: Outcome, count: int, total: int) -> None:
        say(f"[{count}/{total}] {of(outcome)}: {told(outcome)}")
        found = self.results()
        leader = found.arms[0]
        if count < total and leader.mean is not None:
            say(f"        best so far: {leader.label}, {percent(leader.mean)}; about {self.left(count, total)} left")

    def results(self) -> Results:
        from medmllm.ablate.results import standing

        return standing(self.sweep)

    def left(self, count: int, total: int) -> str:
        """From the runs that ended so far."""
        return duration((time.monotonic() - self.begin) / count * (total - count))


class Table(Lines):
    """The ranking so far, redrawn whenever a run ends."""

    def __init__(self, sweep: Sweep, live: Any) -> None:
        super().__init__(sweep)
        self.live = live
        live.update(self.drawn(self.results(), "waiting for the first run"))

    def __call__(self, outcome: Outcome, count: int, total: int) -> None:
        if outcome.status != "done":
            self.live.console.print(without_controls(f"{of(outcome)}: {told(outcome)}"), markup=False, highlight=False)
        self.live.update(self.drawn(self.results(), f"{count}/{total} runs · about {self.left(count, total)} left"))

    def drawn(self, results: Results, caption: str) -> Any:
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(caption=caption, caption_justify="left", box=None, width=min(WIDTH, self.live.console.width))
        grid.add_column("", justify="right")
        grid.add_column(Text(" · ".join(results.axes)), ratio=1, overflow="fold")
        for name in ("exact answers", "runs"):
            grid.add_column(name, justify="right", no_wrap=True)
        for rank, arm in enumerate(results.arms[:SHOWN], 1):
            runs = f"{len(arm.seeds)}" + (f" ({arm.failed} failed)" if arm.failed else "")
            grid.add_row(str(rank), Text(arm.label), accuracy(arm), runs)
        return grid


def put_ranking(results: Results) -> None:
    """The table, the best point first, and what failed."""
    head = ["", "exact answers", "difference (95 %)", "p (Holm)", " · ".join(results.axes)]
    put_table(head, [[str(rank), *row(arm, results.is_reference(arm))] for rank, arm in enumerate(results.arms, 1)])
    from medmllm.ablate.report.tables import too_few

    for line in too_few(results.arms):
        put(line)
    for failure in results.failures:
        put(f"failed: {of(failure)}: {failure.error}")


def row(arm: Arm, own: bool) -> list[str]:
    """The figures of a point, and its name, which is the longest, at the end."""
    found = arm.comparison
    if arm.mean is None:
        return ["-", "-", "-", f"{arm.label}: {arm.reason or 'not run'}"]
    if found is None or arm.p_holm is None:
        return [accuracy(arm), "reference" if own else "-", "-", arm.label]
    if found.equal:
        return [accuracy(arm), arm.verdict, "-", arm.label]
    from medmllm.ablate.report.tables import signed

    difference = f"{signed(found.difference)} ({signed(found.low)} to {signed(found.high)})"
    return [accuracy(arm), difference, f"{arm.p_holm:.3f} {arm.verdict}", arm.label]


def accuracy(arm: Arm) -> str:
    """Mean and standard deviation over seeds, in percent."""
    spread = "" if arm.spread is None else f" ± {100 * arm.spread:.1f}"
    return "-" if arm.mean is None else f"{100 * arm.mean:.1f}{spread}"


def of(outcome: Outcome) -> str:
    from medmllm.ablate.grid import point_in_words

    return f"{point_in_words(outcome.point)}, seed {outcome.seed}"


def told(outcome: Outcome) -> str:
    """What became of a run, in words."""
    if outcome.status == "missing":
        return "another process is running it"
    return f"failed, {outcome.error}" if outcome.status == "failed" else f"{percent(outcome.accuracy)} right"
