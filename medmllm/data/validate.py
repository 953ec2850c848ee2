"""The data set's doctor: every row and every image, before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from medmllm.data.config import DataConfig
from medmllm.data.doctor.copies import Row, same_files, same_ids, same_people, same_pictures
from medmllm.data.doctor.lengths import Limits, too_long
from medmllm.data.doctor.pictures import Ask, Look, look_at
from medmllm.data.doctor.scans import Choice, ScanGroup, choices_of, scan_groups
from medmllm.data.formats import DataProblem
from medmllm.data.records import each_image
from medmllm.data.sources import Source, open_source
from medmllm.errors import DataError

# What training cannot do without.
READABLE = {
    "file": "a file that cannot be used as it is: its columns, its form, or how it is split",
    "row": "a row that cannot be read: a field is missing, or is not what it should be",
    "image-token": "`<image>` more than once, or missing where other rows have it",
    "no-target": "an empty answer or conversation: nothing of the row would be learnt",
    "missing-image": "an image file that does not exist",
    "bad-image": "an image that is truncated, damaged, or dangerous to open",
}
CHECKS = READABLE | {
    "deep-image": "a picture of more than eight bits a pixel, which is rescaled to the range that it uses",
    "duplicate": "one image under two names in a split",
    "near-duplicate": "two people's images that look alike though their files differ",
    "leak-id": "an id in two splits",
    "leak-subject": "a person in two splits",
    "leak-file": "one image in two splits, by the files' content",
    "leak-image": "one picture in two splits, by its looks",
    "too-long": "a row with more tokens than the model has room for",
}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What `validate` found.

    Attributes:
        rows: rows that can be read, of all files.
        images: distinct images that were opened, sound or not.
        problems: everything that is wrong; rows first, then images, then what is in two places.
        warnings: what was put right or looks odd; no reason to stop.
        scans: how scans are shown, by kind and by where their window is from.
        choices: what had to be chosen to show them, and for which images; no reason to stop either.
    """

    rows: int
    images: int
    problems: tuple[DataProblem, ...]
    warnings: tuple[str, ...] = ()
    scans: tuple[ScanGroup, ...] = ()
    choices: tuple[Choice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON, with the number of problems by check; scans only where there are any."""
        found = asdict(self) | {"checks": dict(Counter(problem.check for problem in self.problems))}
        return {name: value for name, value in found.items() if value or name not in ("scans", "choices")}


def validate_data(
    config: DataConfig,
    *,
    checks: Collection[str] = tuple(CHECKS),
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ValidationReport:
    """Check every row and decode every image of a data set once, whatever share of it is trained on.

    Many images are decoded by several processes at once. Memory: about 5 kB a row.

    Args:
        config: names the data set; `fraction` is not looked at.
        checks: names of `CHECKS`; what others would find is left out. Images are opened in any case.
        limits: room of the model; `Limits()` if not given.
        on_progress: called with the number of images done and their total.

    Returns:
        All problems; bad rows and images are reported, not raised.

    Raises:
        DataError: a file does not exist.
        MissingExtraError: a scan, and its reader is not installed.
    """
    source = open_source(config.model_copy(update={"fraction": 1.0}), strict=False)
    problems = list(source.problems)
    rows = _rows(source, problems)
    images: dict[tuple[str, str], Row] = {}
    for row in rows:  # the first row of a split that names an image stands for it
        for one in each_image([row.record]):
            images.setdefault((one.split, one.image), replace(row, record=one))
    looks = _look(source, list(images.values()), config.window, on_progress)
    for row, look in looks.items():
        problems += _image_problems(row, look)
    problems += same_files(looks)
    if not READABLE.keys() >= set(checks):
        problems += [*same_pictures(looks, source.seen_again), *same_ids(rows), *same_people(rows, source.seen_again)]
        problems += _long_rows(rows, limits or Limits())
    told = tuple(problem for problem in problems if problem.check in checks)
    scans = [(row.record.image, look.scan) for row, look in looks.items() if look.scan is not None]
    groups = tuple(scan_groups(scan for _, scan in scans))
    shown = {(row.record.image, look.digest) for row, look in looks.items()}  # some are in several splits
    return ValidationReport(len(rows), len(shown), told, source.warnings, groups, tuple(choices_of(scans)))


def _rows(source: Source, problems: list[DataProblem]) -> list[Row]:
    """All rows; one that serves in two splits is there once, and one that was held out is a training row as before.

    A split that cannot be read is reported.
    """
    rows: dict[tuple[str, int, str], Row] = {}
    for split in source.splits:
        try:
            for record in source.records(split):
                file, number = source.place(record)
                own = replace(record, split="train") if split in source.made else record
                rows.setdefault((file, number, record.id), Row(file, number, own))
        except DataError as error:
            problems.append(DataProblem(error.where, None, "", error.message, error.hint))
    return list(rows.values())


def _look(
    source: Source, rows: list[Row], window: str, on_progress: Callable[[int, int], None] | None
) -> dict[Row, Look]:
    looks: dict[Row, Look] = {}
    asks = (_ask(source, row, window) for row in rows)
    for row, look in zip(rows, look_at(asks, count=len(rows)), strict=True):
        looks[row] = look
        if on_progress is not None:
            on_progress(len(looks), len(rows))
    return looks


def _ask(source: Source, row: Row, window: str) -> Ask:
    """The images to check; one whose content is not available is an empty file, and reported as such."""
    try:
        return Ask(source.opens(row.record), source.content(row.record), source.window)
    except DataError:
        return Ask(row.record.image, b"", window)


def _image_problems(row: Row, look: Look) -> Iterator[DataProblem]:
    if look.fault is not None:
        message, hint = look.fault
        yield row.problem(
            "missing-image" if look.missing else "bad-image", "image", f"{row.record.image}: {message}", hint
        )
    if look.deep:
        message = f"{row.record.image}: has more than eight bits a pixel, and is rescaled to the range that it uses"
        yield row.problem("deep-image", "image", message, "store it as you want it seen, in eight bits")


def _long_rows(rows: list[Row], limits: Limits) -> Iterator[DataProblem]:
    records = [row.record for row in rows]
    training = [record for record in records if record.split == "train"]
    for number, length in too_long(records, training, limits):
        message = f"has {length} tokens, image included, and the limit is {limits.max_length}"
        hint = f"shorten it, or model.language.max_length={length}"
        yield rows[number].problem("too-long", "conversations", message, hint)
