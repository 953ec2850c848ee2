"""Scoring answers that are there already: those of any other system, beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmllm.evaluate.candidates import read_candidates
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.items import pair, read_predictions, read_references
from medmllm.evaluate.report import score_items, score_report


def score_files(
    references: Path,
    predictions: Path,
    *,
    baseline: Path | None = None,
    candidates: Path | None = None,
    missing_is_wrong: bool = False,
) -> dict[str, Any]:
    """Figures of a file of answers against a file of true ones.

    Args:
        references: questions with true answers (`read_references`).
        predictions: what the system said (`read_predictions`).
        baseline: what another system said to the same questions; compared by a paired test.
        candidates: candidate answers of open accuracy (`read_candidates`).
        missing_is_wrong: count a question without an answer as wrong instead of refusing the file.

    Returns:
        What `medmllm.evaluate.report.score_report` gives, and `comparison` with a baseline.

    Raises:
        DataError: a file cannot be used, or ids do not fit one to one.
    """
    asked = read_references(references)
    known = None if candidates is None else read_candidates(candidates)

    def scored(path: Path) -> list[Any]:
        said = read_predictions(path)
        return score_items(pair(asked, said, where=path, missing_is_wrong=missing_is_wrong), known)

    own = scored(predictions)
    comparison = {} if baseline is None else {"comparison": compare_systems(own, scored(baseline))}
    return {**score_report(own), **comparison}
