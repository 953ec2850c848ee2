"""A sweep's findings as files: report.html, report.md, results.csv, results.json, table.tex."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medmllm.ablate.grid import point_in_words
from medmllm.ablate.report.charts import charts
from medmllm.ablate.report.page import figures, heading, items, lead, note, page, paragraph, table
from medmllm.ablate.report.pictures import pictures
from medmllm.ablate.report.svg import Picture
from medmllm.ablate.report.tables import as_csv, as_latex, as_markdown, header, ranking, remarks, sweep_summary
from medmllm.ablate.report.tables import note as how_to_read
from medmllm.ablate.results import Arm, Results
from medmllm.ablate.sweep import Outcome
from medmllm.run.folder import RunFolder


def write_report(results: Results, folder: Path, cells: Path | None = None) -> list[Path]:
    """Writes every file of the report, and returns their paths.

    Args:
        results: to be told.
        folder: where to; made if needed.
        cells: folder of the runs, for pictures of their matchings; None where only the findings are at hand.
    """
    texts = {
        "report.html": as_html(results, cells),
        "report.md": as_markdown(results),
        "results.csv": as_csv(results),
        "table.tex": as_latex(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    for name, text in texts.items():
        run.write_text(name, text)
    run.write_json("results.json", results.to_dict())
    return [folder / name for name in (*texts, "results.json")]


def as_html(results: Results, cells: Path | None = None) -> str:
    """The report as one file that needs nothing else."""
    return page(results.name, _parts(results, cells))


def _parts(results: Results, cells: Path | None) -> Iterator[str]:
    own = {row for row, arm in enumerate(results.arms) if results.is_reference(arm)}
    yield lead(sweep_summary(results))
    yield from map(paragraph, remarks(results))
    yield table(header(results), ranking(results), words=1 + len(results.axes), own=own)
    yield note(how_to_read(results))
    if results.failures:
        yield heading("Failed")
        yield items([_said(outcome) for outcome in results.failures])
    if drawn := list(charts(results)):
        yield heading("What differs")
        yield figures(drawn)
    if drawn := list(_matchings(results, cells)) if cells else []:
        yield heading("How views found each other")
        yield figures(drawn)
    if skipped := {_reason(o): None for o in results.runs if o.status == "skipped"}:
        yield heading("Left out")
        yield items(list(skipped))


def _matchings(results: Results, cells: Path) -> Iterator[Picture]:
    """Pictures of the first run of the best point, and of the reference."""
    for number, arm in enumerate(_shown(results)):
        run = results.done(arm)[0]
        yield from pictures(cells / run.key, f"run{number}", f"{arm.label}, seed {run.seed}")


def _shown(results: Results) -> list[Arm]:
    done = [arm for arm in results.arms if results.done(arm)]
    return [*done[:1], *(arm for arm in done[1:] if results.is_reference(arm))]


def _said(outcome: Outcome) -> str:
    return f"{point_in_words(outcome.point)}, seed {outcome.seed}: {outcome.error}"


def _reason(outcome: Outcome) -> str:
    return f"{point_in_words(outcome.point)}: {outcome.error}"
