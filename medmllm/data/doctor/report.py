"""Problems as a CSV file, one a line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from medmllm.data.formats import DataProblem
from medmllm.text.escaping import csv_cell

COLUMNS = ("check", "file", "row", "field", "message", "hint")


def write_csv(path: Path, problems: Sequence[DataProblem]) -> None:
    """Write the problems, or the head line alone if there are none; half of a character becomes its escape."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for problem in problems:
            values = (getattr(problem, column) for column in COLUMNS)
            writer.writerow(["" if value is None else csv_cell(value) for value in values])
