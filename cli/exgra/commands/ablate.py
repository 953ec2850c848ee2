"""`exgra ablate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exgra.failure import Interrupted
from exgra.options import Debug, Json, source_and_overrides
from exgra.screen import duration, put, put_json, put_table, say
from graphalign.counts import count_of
from medmllm.errors import command_line

if TYPE_CHECKING:
    from medmllm.ablate.cost import Estimate
    from medmllm.ablate.results import Results
    from medmllm.ablate.sweep import Sweep

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
    split: Annotated[
        str | None,
        typer.Option(help="Answers to compare; `validation` to choose settings. `test` if not given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The sweep's folder; `runs/NAME` if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an existing sweep.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be run, and for how long.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train every combination of some settings, with several seeds, and say which differences are clear."""
    from medmllm.ablate.cost import estimate_sweep
    from medmllm.ablate.findings import FINDINGS, Findings
    from medmllm.ablate.grid import load_grid
    from medmllm.ablate.report import write_report
    from medmllm.ablate.results import analyse
    from medmllm.ablate.sweep import Sweep

    source, words = source_and_overrides(grid, overrides)
    loaded = load_grid(source, words, axis or (), seeds, reference or (), split)
    folder = out or Path("runs") / loaded.name
    check_resume(folder, resume)
    sweep = Sweep(loaded, folder) if dry_run else Sweep.open(loaded, folder)
    cost = estimate_sweep(sweep, jobs)
    say_plan(sweep, cost, jobs)
    if dry_run:
        runs = [outcome.to_dict() for outcome in sweep.outcomes()]
        put_json({**asdict(cost), "folder": str(folder), "runs": runs}) if as_json else put_cells(sweep)
        return
    run_sweep(sweep, jobs)
    findings = Findings.of(sweep)
    findings.save(folder / FINDINGS)
    results = analyse(findings)
    show_results(results, write_report(results, folder, sweep.cells), folder, as_json)


def check_resume(folder: Path, resume: bool) -> None:
    """`--resume` says that something must be there; without it a sweep continues anyway."""
    from medmllm.ablate.sweep import GRID
    from medmllm.errors import ConfigError

    if resume and not (folder / GRID).exists():
        raise ConfigError(f"{folder} holds no sweep to resume", where="--out", hint="leave --resume out")


def say_plan(sweep: Sweep, cost: Estimate, jobs: int) -> None:
    grid = sweep.grid
    sizes = " x ".join(f"{axis.name} ({len(axis.values)})" for axis in grid.axes)
    took = "nothing to do" if not cost.runs else "unknown" if cost.minutes is None else duration(60 * cost.minutes)
    say(f"plan    {sizes} x {count_of(grid.seeds, 'seed')}, from {grid.base}")
    say(f"runs    {cost.runs} to do, {cost.finished} finished, {cost.skipped} skipped")
    say(f"time    about {took} with --jobs {jobs}, if all runs take as long as the first; disk {cost.disk_mb:.0f} MB")
    say(f"writes  {sweep.folder}/ and {sweep.cells}/")


def put_cells(sweep: Sweep) -> None:
    """Every run of the grid and what is to become of it."""
    rows = [(*o.point.values(), o.seed, o.key or "-", f"{o.status} {o.error}".strip()) for o in sweep.outcomes()]
    put_table([*(axis.name for axis in sweep.grid.axes), "seed", f"in {sweep.cells}/", "status"], rows)


def run_sweep(sweep: Sweep, jobs: int) -> None:
    from exgra.ranking import watcher

    try:
        with watcher(sweep) as heard:
            sweep.run(jobs, heard)
    except KeyboardInterrupt:
        hint = f"the same command again, or {command_line('ablate', '...', '--resume', '--out', sweep.folder)}"
        raise Interrupted("interrupted; finished runs are kept", where=str(sweep.folder), hint=hint) from None


def show_results(results: Results, files: list[Path], folder: Path, as_json: bool) -> None:
    """Print the findings and where they are written; exit 5 unless all runs are done."""
    if as_json:
        put_json({**results.to_dict(), "folder": str(folder)})
    else:
        from exgra.ranking import put_ranking

        put_ranking(results)
        put("\n".join(f"wrote   {file}" for file in files))
    if not results.complete:
        raise typer.Exit(PARTLY)
