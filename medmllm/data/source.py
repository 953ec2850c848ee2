"""A data set as the rest of the program sees it: records by split, and their images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from medmllm.data.formats.reading import DataProblem
from medmllm.data.images import kind_in
from medmllm.data.records import Record, each_image
from medmllm.data.scans.address import address
from medmllm.data.scans.window import meaning
from medmllm.data.subset import share
from medmllm.errors import ConfigError, DataError, did_you_mean

_LOOKED_INTO = 16  # images that are opened to see whether they are scans


class Images(Protocol):
    """What opens the images of records."""

    def image(self, record: Record) -> Image.Image:
        """The record's image: RGB, fully decoded. Raises DataError with file, row and remedy."""


class Source(Images, Protocol):
    """A data set: records by split, and their images."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the source has."""

    @property
    def attribution(self) -> str:
        """Where the data's origin and licence are written down."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Repairs and oddities, one line each."""

    @property
    def seen_again(self) -> tuple[str, ...]:
        """Splits that show people of the training split by their own definition."""

    @property
    def made(self) -> tuple[str, ...]:
        """Splits that the data does not have, but whose records were taken out of the training ones."""

    @property
    def window(self) -> str:
        """How scans are shown."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that a run prints before it begins: how its scans are shown."""

    def records(self, split: str) -> tuple[Record, ...]:
        """Records of a split in file order; of "train" only the configured share."""

    @property
    def problems(self) -> tuple[DataProblem, ...]:
        """Faults of the rows; empty unless the source was opened with `strict=False`."""

    @property
    def left_out(self) -> tuple[tuple[str, DataProblem], ...]:
        """Split and reason of each row that is not used although it was asked for."""

    def place(self, record: Record) -> tuple[str, int]:
        """Data file and row of a record; rows count from 1."""

    def content(self, record: Record) -> bytes | Path:
        """The file of the record's image, or its bytes. Raises DataError where it may not be read."""

    def opens(self, record: Record) -> str:
        """The name under which the record's content is opened: it may say what it is, and which slice."""

    def files(self) -> list[dict[str, Any]]:
        """Data files: `path`, `bytes`, `sha256`, and `rows` in use by split."""


def scan_notes(source: Source, records: Iterable[Record]) -> tuple[str, ...]:
    """The line that says how scans are shown, where there are some: a few images whose names say nothing are opened."""
    window, unnamed = source.window, list[Record]()
    for record in each_image(records):
        found = address(record.image)
        if found.is_scan:
            break
        if not found.is_picture and len(unnamed) < _LOOKED_INTO:
            unnamed.append(record)
    else:
        if not any(_is_scan(source, record) for record in unnamed):
            return ()
    return (f"scans are shown in the window {window}{meaning(window)}",)


def _is_scan(source: Source, record: Record) -> bool:
    try:
        return kind_in(source.content(record), source.opens(record)) != ""
    except (DataError, OSError):  # reported when the image is opened
        return False


def shown_together(images: Images, record: Record) -> Image.Image:
    """All images of a record as one picture, side by side from left to right; grey where it has none."""
    found = [images.image(one) for one in each_image([record])] or [Image.new("RGB", (64, 64), "grey")]
    if len(found) == 1:
        return found[0]
    sheet = Image.new("RGB", (sum(one.width for one in found), max(one.height for one in found)))
    left = 0
    for one in found:
        sheet.paste(one, (left, 0))
        left += one.width
    return sheet


def train_share(records: tuple[Record, ...], fraction: float) -> tuple[Record, ...]:
    """The share of the training records that `data.fraction` takes."""
    return share(records, fraction, salt="exgra train share", key=lambda record: record.id)


def place_of(source: Source, record: Record) -> str:
    """Where a record's image comes from, as error messages say it."""
    file, row = source.place(record)
    return f"{file}: row {row}, image {record.image}"


def known(split: str, splits: tuple[str, ...]) -> str:
    """The split, or an error that names the nearest one."""
    if split not in splits:
        hint = did_you_mean(split, splits, f"one of {', '.join(splits)}")
        raise ConfigError(f"the data set has no split {split!r}", hint=hint)
    return split


def file_entry(path: Path, name: str, rows: dict[str, int]) -> dict[str, Any]:
    """A data file as `data.json` of a run lists it."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": name, "bytes": path.stat().st_size, "sha256": digest, "rows": rows}
