"""Whether data is marked private: such data is sent nowhere."""

from __future__ import annotations

from pathlib import Path

from medmllm.data.formats import Reading
from medmllm.data.formats.registry import raw_rows
from medmllm.errors import ConfigError

MARKS = ("PRIVATE", "PRIVATE.txt", "PRIVATE.md", ".private")
FIELD = "private"
_YES = (True, 1, "1", "true", "True", "yes")


def refuse_private(path: Path, reading: Reading) -> None:
    """Stop if a file of the name `PRIVATE` lies beside the data or its images, or a row says `"private": true`.

    Raises:
        ConfigError: the data is marked private.
    """
    for folder in dict.fromkeys((path.parent.resolve(), reading.folder.resolve())):
        for name in MARKS:
            if (folder / name).exists():
                raise _refusal(f"the file {name} lies beside it", str(folder / name))
    for number, row in raw_rows(Reading(reading.path, reading.folder)):
        if isinstance(row, dict) and row.get(FIELD) in _YES:
            raise _refusal(f"row {number} is marked {FIELD}", f"{path}: row {number}")


def _refusal(why: str, where: str) -> ConfigError:
    hint = "use a model on this machine, --local FOLDER, or --rules"
    return ConfigError(f"the data is private and is not sent to an endpoint: {why}", where=where, hint=hint)
