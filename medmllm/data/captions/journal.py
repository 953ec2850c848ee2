"""The finished rows: one line a row, appended and flushed to the disk before the next is begun."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from medmllm.data.records import Record
from medmllm.errors import RunError


def row_key(record: Record, by: str) -> str:
    """The key of a finished row: its id, its turns and who wrote; if one changes, it is written again."""
    return sha256(json.dumps([record.id, record.turns, by]).encode()).hexdigest()[:24]


class Journal:
    """The file of finished rows. Only `add` writes, and only at the end."""

    def __init__(self, path: Path, file: BinaryIO, done: dict[str, list[str]]) -> None:
        self.path, self._file, self.done = path, file, done

    def add(self, key: str, record: Record, answers: list[str], by: str) -> None:
        """Keep the answers of a row; once this returns, a crash cannot lose them."""
        line = json.dumps({"key": key, "id": record.id, "by": by, "answers": answers}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[key] = answers


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open or continue a journal; a last line that a crash has cut is removed.

    Raises:
        RunError: another process writes it, or a line in its middle is damaged.
    """
    with path.open("a+b") as file:
        _lock(file, path)
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        yield Journal(path, file, _read(path, content[:whole]))


def _read(path: Path, content: bytes) -> dict[str, list[str]]:
    done: dict[str, list[str]] = {}
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            done[row["key"]] = list(map(str, row["answers"]))
        except (ValueError, KeyError, TypeError) as cause:
            raise RunError("a line is damaged", where=f"{path}: line {number}", hint="remove that line") from cause
    return done


def _lock(file: BinaryIO, path: Path) -> None:
    """One process at a time, where the system can hold it to that."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        raise RunError("another process writes this file", where=str(path), hint="wait for it") from cause
