"""A sweep's findings as files: report.html, report.md, results.csv, results.json, table.tex."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medmllm.ablate.grid import point_in_words
from medmllm.ablate.report.charts import charts
from medmllm.ablate.report.page import page
from medmllm.ablate.report.pictures import pictures
from medmllm.ablate.report.svg import Picture
from medmllm.ablate.report.tables import as_csv, as_latex, as_markdown, header, note, ranking, remarks, sweep_summary
from medmllm.ablate.results import Arm, Results
from medmllm.ablate.sweep import Outcome
from medmllm.run.folder import RunFolder


def write_report(results: Results, folder: Path, cells: Path | None = None) -> list[Path]:
    """Write every file of the report, and return their paths.

    Args:
        results: the results to report.
        folder: where to; made if needed.
        cells: folder of the runs, for pictures of their matchings; None where only the findings are available.
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
    """Return the report as one file that needs nothing else."""
    return page(
        "sweep",
        title=results.name,
        summary=sweep_summary(results),
        remarks=remarks(results),
        head=header(results),
        rows=ranking(results),
        words=1 + len(results.axes),
        own={row for row, arm in enumerate(results.arms) if results.is_reference(arm)},
        note=note(results),
        failed=[f"{point_in_words(run.point)}, seed {run.seed}: {run.error}" for run in results.failures],
        charts=list(charts(results)),
        matchings=list(_matchings(results, cells)) if cells else [],
        skipped=list(dict.fromkeys(_reason(run) for run in results.runs if run.status == "skipped")),
    )


def _matchings(results: Results, cells: Path) -> Iterator[Picture]:
    """Pictures of the first run of the best point, and of the reference."""
    for number, arm in enumerate(_shown(results)):
        run = results.done(arm)[0]
        yield from pictures(cells / run.key, f"run{number}", f"{arm.label}, seed {run.seed}")


def _shown(results: Results) -> list[Arm]:
    done = [arm for arm in results.arms if results.done(arm)]
    return [*done[:1], *(arm for arm in done[1:] if results.is_reference(arm))]


def _reason(outcome: Outcome) -> str:
    return f"{point_in_words(outcome.point)}: {outcome.error}"
