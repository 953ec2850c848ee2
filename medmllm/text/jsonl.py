"""Files of one JSON object a line. A line ends with a line feed and with nothing else.

`str.splitlines` also ends lines at U+2028, U+2029 and U+0085, which JSON strings may hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medmllm.errors import DataError


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their line feeds."""
    return text.removesuffix("\n").split("\n") if text else []


def read_jsonl(path: Path, *, hint: str = "put the file back as it was") -> list[Any]:
    """The values of all lines.

    Raises:
        DataError: the file is not UTF-8, or a line is not JSON; `hint` says what to do about it.
    """
    return list(_values(path, path.read_bytes(), hint))


def read_whole_lines(path: Path, *, hint: str = "put the file back as it was") -> list[Any]:
    """The values of all lines that end with a line feed; one that a kill cut off at the end is left out.

    Raises:
        DataError: as for `read_jsonl`.
    """
    content = path.read_bytes()
    return list(_values(path, content[: content.rfind(b"\n") + 1], hint))


def _values(path: Path, content: bytes, hint: str) -> Iterator[Any]:
    try:
        lines = split_lines(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError("the line is not UTF-8 text", where=f"{path}: line {number}", hint=hint) from None
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise DataError("the line is not JSON", where=f"{path}: line {number}", hint=hint) from None
