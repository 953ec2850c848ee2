"""`exgra ablate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exgra.failure import Interrupted
from exgra.options import Debug, Json, source_and_overrides
from exgra.screen import duration, percent, put_json, put_table, say

if TYPE_CHECKING:
    from medmllm.ablate.results import Arm, Results
    from medmllm.ablate.sweep import Estimate, Outcome, Sweep

PARTLY = 5


def ablate(
    grid: Annotated[
        str | None,
        typer.Argument(metavar="GRID", help="A shipped grid or a file; solver x estimator if not given."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...", help="Settings of all runs, e.g. `train.steps=200`.", show_default=False
        ),
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(metavar="K=A,B,C", help="Values of one setting; give it again for more axes.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of every point, with the seeds 0, 1, ...")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once; each gets its share of the cores.")] = 1,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Point that the others are compared with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The sweep's folder; `runs/NAME` if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that is there already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be run, and for how long.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train every combination of some settings, with several seeds, and say what differs for sure."""
    from medmllm.ablate.grid import load
    from medmllm.ablate.report import write_report
    from medmllm.ablate.results import collect
    from medmllm.ablate.sweep import Sweep

    source, words = source_and_overrides(grid, overrides)
    loaded = load(source, words, axis or (), seeds, reference or ())
    folder = out or Path("runs") / loaded.name
    check_resume(folder, resume)
    sweep = Sweep(loaded, folder) if dry_run else Sweep.open(loaded, folder)
    estimate = sweep.estimate()
    say_plan(sweep, estimate, jobs)
    if dry_run:
        put_json({**asdict(estimate), "folder": str(folder)}) if as_json else put_cells(sweep)
        return
    carry_out(sweep, jobs)
    results = collect(sweep)
    files = write_report(results, folder)
    put_json({**results.to_dict(), "folder": str(folder)}) if as_json else put_ranking(results, files)
    if results.failures:
        raise typer.Exit(PARTLY)


def check_resume(folder: Path, resume: bool) -> None:
    """`--resume` says that something must be there; without it a sweep goes on all the same."""
    from medmllm.ablate.sweep import GRID
    from medmllm.errors import ConfigError

    if resume and not (folder / GRID).exists():
        raise ConfigError(f"{folder} holds no sweep to go on with", where="--out", hint="leave --resume out")


def say_plan(sweep: Sweep, estimate: Estimate, jobs: int) -> None:
    grid = sweep.grid
    sizes = " x ".join(f"{axis.name} ({len(axis.values)})" for axis in grid.axes)
    took = duration(60 * estimate.minutes / jobs) if estimate.minutes else "no time"
    say(f"plan    {sizes} x {grid.seeds} seeds, from {grid.base}")
    say(f"runs    {estimate.runs} to do, {estimate.finished} finished, {estimate.skipped} skipped")
    say(f"cost    about {took} with --jobs {jobs}, {estimate.disk_mb:.0f} MB")
    say(f"writes  {sweep.folder}/ and {sweep.cells}/")


def put_cells(sweep: Sweep) -> None:
    """Every run of the grid and what is to become of it."""
    rows = [(*o.point.values(), o.seed, f"{o.status} {o.error}".strip()) for o in sweep.outcomes()]
    put_table([*(axis.name for axis in sweep.grid.axes), "seed", "run"], rows)


def carry_out(sweep: Sweep, jobs: int) -> None:
    from medmllm.ablate.results import collect

    def heard(outcome: Outcome, count: int, total: int) -> None:
        told = outcome.error if outcome.status == "failed" else f"{percent(outcome.accuracy)} right"
        say(f"[{count}/{total}] {' · '.join(outcome.point.values())}, seed {outcome.seed}: {outcome.status}, {told}")
        leader = collect(sweep).arms[0]
        if count < total and leader.mean is not None:
            say(f"        in front: {leader.label}, {percent(leader.mean)} over {len(leader.seeds)} seeds")

    try:
        sweep.run(jobs, heard)
    except KeyboardInterrupt:
        hint = f"the same command again, or exgra ablate ... --resume --out {sweep.folder}"
        say_where = str(sweep.folder)
        raise Interrupted("interrupted; finished runs are kept", where=say_where, hint=hint) from None


def put_ranking(results: Results, files: list[Path]) -> None:
    """The table, best point first, and where it is written."""
    head = [*results.reference, "exact answers", "difference (95 %)", "p (Holm)", "verdict"]
    put_table(head, [row(arm) for arm in results.arms])
    print()
    for failure in results.failures:
        print(f"failed: {' · '.join(failure.point.values())}, seed {failure.seed}: {failure.error}")
    print("\n".join(f"wrote   {file}" for file in files))


def row(arm: Arm) -> list[str]:
    found = arm.comparison
    if arm.mean is None:
        return [*arm.point.values(), "-", "-", "-", arm.reason or "not run"]
    spread = "" if arm.spread is None else f" ± {100 * arm.spread:.1f}"
    start = [*arm.point.values(), f"{100 * arm.mean:.1f}{spread}"]
    if found is None or arm.p_holm is None:
        return [*start, "-", "-", arm.verdict]
    difference = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return [*start, difference, f"{arm.p_holm:.3f}", arm.verdict]
