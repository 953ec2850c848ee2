"""The data set's doctor: every row and every image, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from medmllm.config import DataConfig
from medmllm.data.formats import DataProblem
from medmllm.data.records import Record
from medmllm.data.sources import Source, open_source
from medmllm.errors import DataError


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What `validate` found.

    Attributes:
        rows: rows that can be read, of all files.
        images: distinct images that were opened, sound or not.
        problems: everything that is wrong; rows first, then images.
        warnings: what was put right or looks odd; no reason to stop.
    """

    rows: int
    images: int
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)


def validate(config: DataConfig, *, on_progress: Callable[[int, int], None] | None = None) -> ValidationReport:
    """Check every row and decode every image of a data set once, whatever share of it is trained on.

    Args:
        config: names the data set; `fraction` is not looked at.
        on_progress: called with the number of images done and their total.

    Returns:
        All problems; bad rows and images are reported, not raised.

    Raises:
        DataError: a file does not exist.
    """
    source = open_source(config.model_copy(update={"fraction": 1.0}), strict=False)
    problems = list(source.problems)
    rows = _rows(source, problems)
    images: dict[tuple[str, str], tuple[tuple[str, int], Record]] = {}
    for place, record in rows.items():  # the first row that names an image stands for it
        images.setdefault((place[0], record.image), (place, record))
    for done, (place, record) in enumerate(images.values(), start=1):
        problems += _image_problems(source, place, record)
        if on_progress is not None:
            on_progress(done, len(images))
    return ValidationReport(len(rows), len(images), tuple(problems), source.warnings)


def _rows(source: Source, problems: list[DataProblem]) -> dict[tuple[str, int], Record]:
    """Records by place; a row that serves in two splits is there once. A split that cannot be read is reported."""
    rows: dict[tuple[str, int], Record] = {}
    for split in source.splits:
        try:
            rows |= {source.place(record): record for record in source.records(split)}
        except DataError as error:
            problems.append(DataProblem(error.where, None, "", error.message, error.hint))
    return rows


def _image_problems(source: Source, place: tuple[str, int], record: Record) -> list[DataProblem]:
    try:
        source.image(record)
    except DataError as error:
        return [DataProblem(*place, "image", f"{record.image}: {error.message}", error.hint)]
    return []
