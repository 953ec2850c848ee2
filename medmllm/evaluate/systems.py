"""Scoring answers that are there already: those of any other system, beside ours."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmllm.evaluate.candidates import read_candidates
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.items import pair, read_predictions, says_truth, untold
from medmllm.evaluate.references import open_references
from medmllm.evaluate.report import Scored, score_items, score_report
from medmllm.evaluate.role_words import without_role
from medmllm.evaluate.statistics import holm


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
    files = [predictions] if baseline is None else [predictions, baseline]
    rule = Rule(candidates, missing_is_wrong, split, language, role)
    own, *others = _scored(references, files, rule, on_warning)
    told = score_report(own)
    return {**told, "comparison": compare_systems(own, others[0])} if others else told


def score_systems(
    references: Path,
    systems: Mapping[str, Path],
    rule: Rule | None = None,
    on_warning: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Figures of several systems that answered the same questions, each compared with the first by a paired test.

    Args:
        references: questions with true answers.
        systems: file of answers by the system's name, at least two.
        rule: how they are read; each option as in `score_files`.
        on_warning: called with what was put right, left out or not asked.

    Returns:
        `{"first": name, "systems": {name: report}, "comparisons": {name: {column: {metric: ...}}}}`. A report is that
        of `score_report`, a comparison the first system minus this one by `compare_systems`, except that `p_holm`
        allows for the number of systems compared in this metric.
    """
    scored = dict(zip(systems, _scored(references, list(systems.values()), rule or Rule(), on_warning), strict=True))
    first = next(iter(scored))
    comparisons = {name: compare_systems(scored[first], other) for name, other in scored.items() if name != first}
    for column, metrics in next(iter(comparisons.values())).items():
        for metric in metrics:
            found = [one for told in comparisons.values() if (one := told[column][metric])]
            for one, raised in zip(found, holm([1.0 if one["equal"] else one["p"] for one in found]), strict=True):
                one["p_holm"] = None if one["equal"] else raised
    reports = {name: score_report(one) for name, one in scored.items()}
    return {"first": first, "systems": reports, "comparisons": comparisons}


@dataclass(frozen=True)
class Rule:
    """How files of answers are read and scored; each option as in `score_files`."""

    candidates: Path | None = None
    missing_is_wrong: bool = False
    split: str | None = None
    language: str = "en"
    role: str | None = None


def _scored(
    references: Path, files: Sequence[Path], rule: Rule, on_warning: Callable[[str], None]
) -> list[list[Scored]]:
    """Answers of each file with their points, to the same questions: those of the split, or that the first answers."""
    known = None if rule.candidates is None else read_candidates(rule.candidates)
    rows = open_references(references, language=rule.language)
    said = [without_role(read_predictions(file, on_warning), rule.role, file, on_warning) for file in files]
    asked = rows.asked(rule.split, {one.id for one in said[0]})
    doubts = (
        line for file, own in zip(files, said, strict=True) for line in (untold(own, file), _same(references, file))
    )
    for line in filter(None, (*rows.warnings, rows.line(asked), *doubts)):
        on_warning(line)
    return [
        score_items(pair(asked, own, where=file, missing_is_wrong=rule.missing_is_wrong), known)
        for file, own in zip(files, said, strict=True)
    ]


def _same(references: Path, predictions: Path) -> str:
    """Return a warning where the true answers themselves are given as predictions; else ""."""
    alike = references.is_file() and filecmp.cmp(references, predictions, shallow=False)
    if not (alike and says_truth(predictions)):
        return ""
    return f"{predictions}: these are the true answers themselves, so every figure is what a faultless system gets"
