"""Scoring answers that are there already: those of any other system, beside ours."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medmllm.evaluate.candidates import read_candidates
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.items import Said, pair, read_predictions, says_truth, untold
from medmllm.evaluate.references import open_references
from medmllm.evaluate.report import score_items, score_report
from medmllm.evaluate.role_words import without_role


def same_file(references: Path, predictions: Path) -> str:
    """Return a warning where the true answers themselves are given as predictions; else ""."""
    if (
        not references.is_file()
        or not filecmp.cmp(references, predictions, shallow=False)
        or not says_truth(predictions)
    ):
        return ""
    return f"{predictions}: these are the true answers themselves, so every figure is what a faultless system gets"


def score_files(
    references: Path,
    predictions: Path,
    *,
    baseline: Path | None = None,
    candidates: Path | None = None,
    missing_is_wrong: bool = False,
    split: str | None = None,
    language: str = "en",
    role: str | None = None,
    on_warning: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Figures of a file of answers against a file of true ones.

    Args:
        references: questions with true answers (`open_references`).
        predictions: what the system said (`read_predictions`).
        baseline: what another system said to the same questions; compared by a paired test.
        candidates: candidate answers of open accuracy (`read_candidates`).
        missing_is_wrong: count a question without an answer as wrong instead of refusing the file.
        split: which of the rows are asked (`References.asked`).
        language: of the rows of a published set that has several, or "all".
        role: a word such as `Assistant` that is removed before every answer (`without_role`).
        on_warning: called with what was put right, left out or not asked.

    Returns:
        What `medmllm.evaluate.report.score_report` gives, and `comparison` with a baseline.

    Raises:
        DataError: a file cannot be used, or ids do not fit one to one.
    """
    known = None if candidates is None else read_candidates(candidates)
    rows = open_references(references, language=language)
    said = without_role(read_predictions(predictions, on_warning), role, predictions, on_warning)
    asked = rows.asked(split, {one.id for one in said})
    for line in filter(None, (*rows.warnings, rows.line(asked), untold(said), same_file(references, predictions))):
        on_warning(line)

    def scored(said: list[Said], path: Path) -> list[Any]:
        return score_items(pair(asked, said, where=path, missing_is_wrong=missing_is_wrong), known)

    own = scored(said, predictions)
    if baseline is None:
        return score_report(own)
    others = without_role(read_predictions(baseline, on_warning), role, baseline, on_warning)
    return {**score_report(own), "comparison": compare_systems(own, scored(others, baseline))}
