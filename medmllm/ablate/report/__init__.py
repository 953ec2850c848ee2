"""A sweep's findings as files: results.csv, results.json, report.md, table.tex."""

from __future__ import annotations

from pathlib import Path

from medmllm.ablate.report.tables import as_csv, as_latex, as_markdown
from medmllm.ablate.results import Results
from medmllm.run_folder import RunFolder


def write_report(results: Results, folder: Path) -> list[Path]:
    """Writes every file of the report into the sweep's folder, and returns their paths."""
    run = RunFolder(folder)
    run.write_json("results.json", results.to_dict())
    run.write_text("results.csv", as_csv(results))
    run.write_text("report.md", as_markdown(results))
    run.write_text("table.tex", as_latex(results))
    return [folder / name for name in ("report.md", "results.csv", "results.json", "table.tex")]
