"""A sweep's findings as files: report.html, report.md, results.csv, results.json, table.tex."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medmllm.ablate.report.charts import charts
from medmllm.ablate.report.page import figures, heading, items, lead, note, page, table
from medmllm.ablate.report.pictures import pictures
from medmllm.ablate.report.svg import Picture
from medmllm.ablate.report.tables import HEAD, NOTE, as_csv, as_latex, as_markdown, ranking, summary
from medmllm.ablate.results import Arm, Results
from medmllm.ablate.sweep import Outcome, Sweep
from medmllm.run_folder import RunFolder


def write_report(results: Results, sweep: Sweep) -> list[Path]:
    """Writes every file of the report into the sweep's folder, and returns their paths."""
    texts = {
        "report.html": as_html(results, sweep),
        "report.md": as_markdown(results),
        "results.csv": as_csv(results),
        "table.tex": as_latex(results),
    }
    run = RunFolder(sweep.folder)
    for name, text in texts.items():
        run.write_text(name, text)
    run.write_json("results.json", results.to_dict())
    return [sweep.folder / name for name in (*texts, "results.json")]


def as_html(results: Results, sweep: Sweep) -> str:
    """The report as one file that needs nothing else."""
    return page(results.name, _parts(results, sweep))


def _parts(results: Results, sweep: Sweep) -> Iterator[str]:
    own = next((i for i, arm in enumerate(results.arms) if arm.point == results.reference), None)
    yield lead(summary(results))
    yield table(["#", *results.reference, *HEAD], ranking(results), words=1 + len(results.reference), own=own)
    yield note(NOTE.format(examples=results.examples))
    if results.failures:
        yield heading("Failed")
        yield items([_said(outcome) for outcome in results.failures])
    metrics = {o.key: RunFolder(sweep.cells / o.key).lines() for o in results.outcomes if o.status == "done"}
    if drawn := list(charts(results, metrics)):
        yield heading("What differs")
        yield figures(drawn)
    if drawn := list(_matchings(results, sweep)):
        yield heading("How views found each other")
        yield figures(drawn)
    if skipped := {_reason(o): None for o in results.outcomes if o.status == "skipped"}:
        yield heading("Left out")
        yield items(list(skipped))


def _matchings(results: Results, sweep: Sweep) -> Iterator[Picture]:
    """Pictures of the first run of the best point, and of the reference."""
    for number, arm in enumerate(_shown(results)):
        run = results.runs(arm)[0]
        yield from pictures(sweep.cells / run.key, f"run{number}", f"{arm.label}, seed {run.seed}")


def _shown(results: Results) -> list[Arm]:
    done = [arm for arm in results.arms if results.runs(arm)]
    return [*done[:1], *(arm for arm in done[1:] if arm.point == results.reference)]


def _said(outcome: Outcome) -> str:
    return f"{' · '.join(outcome.point.values())}, seed {outcome.seed}: {outcome.error}"


def _reason(outcome: Outcome) -> str:
    return f"{' · '.join(outcome.point.values())}: {outcome.error}"
