"""Rows of a file of references or answers: a JSON list, JSON Lines, or CSV, with fields under any of their names."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medmllm.errors import DataError

Row = dict[str, Any]
_LIMIT = 2**28  # bytes; the largest of the benchmarks, OmniMedVQA, has less than a quarter of it


def read_rows(path: Path) -> list[Row]:
    """All rows, with field names in lower case.

    Args:
        path: `.csv` with a header, `.jsonl` with an object a line, any other name with a JSON list of objects.

    Raises:
        DataError: the file is missing, larger than 256 MB, not UTF-8, not in the format of its name, or without rows.
    """
    if not path.is_file():
        raise DataError("the file does not exist", where=str(path), hint="check the path")
    if path.stat().st_size > _LIMIT:
        raise DataError("the file is larger than 256 MB", where=str(path), hint="leave out what is no answer")
    readers = {".csv": _csv, ".jsonl": _json_lines}
    try:
        text = path.read_text("utf-8-sig")
        rows = [_lower(row, f"{path}: {place}") for place, row in readers.get(path.suffix.lower(), _json)(text)]
    except UnicodeDecodeError as cause:
        told = f"the file is not UTF-8 text (byte {cause.start})"
        raise DataError(told, where=str(path), hint="save it as UTF-8") from cause
    except (ValueError, RecursionError, csv.Error) as cause:
        hint = "a file with one object a line has the ending .jsonl, a table .csv, a JSON list .json"
        raise DataError(f"the file cannot be read ({cause})", where=str(path), hint=hint) from cause
    if not rows:
        raise DataError("the file has no rows", where=str(path), hint="it needs at least one question or answer")
    return rows


def first(row: Row, names: Sequence[str]) -> Any:
    """The value under the first of several names that a row has and that is not empty; None without any."""
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def text_of(value: Any) -> str | None:
    """A cell as text: texts and numbers as they are, a list of one as that one; None for anything else.

    A list of one may also be written as Python prints it, `"['yes']"`, as some scripts save batches of one.
    """
    if isinstance(value, str):
        return _printed(value) or value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def _printed(text: str) -> str | None:
    """The one text of a printed list; None for any other text."""
    if text[:2] not in ("['", '["') or not text.endswith("]"):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) else None


def _lower(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError("the row is not an object with named fields", where=where, hint="see docs/evaluation.md")
    return {str(name).strip().lower(): value for name, value in row.items()}


def _csv(text: str) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of cells than the header")
        yield f"row {number}", row


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", json.loads(line)


def _json(text: str) -> Iterator[tuple[str, Any]]:
    content = json.loads(text)
    if not isinstance(content, list):
        raise ValueError("the top level is not a list of rows")
    return ((f"row {number}", row) for number, row in enumerate(content, start=1))
