"""Candidate answers of open accuracy: read, or made from the answers of a data file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medmllm.errors import DataError
from medmllm.evaluate.references import open_references


def read_candidates(path: Path) -> list[str]:
    """Candidate answers of a file.

    Read are a JSON list of texts, the candidate files of LLaVA-Med (`{"0": [...]}`), and data files, whose distinct
    open answers are taken in their order: those of the training rows where the data says which those are. Make them of
    *training* data: candidates from the test answers hand every system a list that holds the truth.

    Raises:
        DataError: the file cannot be read, or has no candidates.
    """
    listed = _listed(path)
    answers = _open_answers(path) if listed is None else listed
    if not answers:
        raise DataError("the file has no candidate answers", where=str(path), hint="it needs open questions")
    return list(dict.fromkeys(answers))


def _open_answers(path: Path) -> list[str]:
    rows = open_references(path)
    asked = rows.asked("train" if "train" in rows.splits else "all")
    return [item.reference for item in asked if not item.closed]


def _listed(path: Path) -> list[str] | None:
    """The texts of a plain list; None where the file is something else."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        content: Any = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError):
        return None  # open_references says what is wrong
    content = content.get("0") if isinstance(content, dict) else content
    plain = isinstance(content, list) and all(isinstance(c, (str, int)) for c in content)
    return [str(candidate) for candidate in content] if plain else None
