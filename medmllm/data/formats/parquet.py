"""Parquet files, also those that hold their images, as the Hugging Face hub serves them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from graphalign.extras import pip_line
from medmllm.data.formats.columns import image_columns
from medmllm.data.formats.reading import Reading
from medmllm.data.scans.address import SCAN_ENDINGS, address
from medmllm.errors import DataError, MissingExtraError

_ROWS = 64  # rows decoded at once
_KEPT = 2  # row groups kept while images are read in any order
_LARGEST_GROUP = 2**32  # bytes that one row group may take when decoded
_IMAGE = ("image", "images", "img")


class Place(NamedTuple):
    """Where an image is: its column, row group, row in that, and number in the row's list."""

    column: str
    group: int
    row: int
    number: int


class ParquetImages:
    """Images inside a Parquet file, by the name that their content gives them; equal images have one name.

    Reading one image decodes its whole row group; the last groups are kept.
    """

    def __init__(self, path: Path, columns: int) -> None:
        self.path, self.columns = path, columns
        self.places: dict[str, Place] = {}
        self._groups: OrderedDict[tuple[int, str, int], list[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}

    def add(self, content: bytes, place: Place, path: str = "") -> str:
        """Remember where an image is; returns its name, which keeps what a path says of a scan: its kind and slice."""
        name = f"image-{sha256(content).hexdigest()[:20]}"
        found = address(path)
        if not found.is_picture:
            name += next((ending for ending in SCAN_ENDINGS if found.path.lower().endswith(ending)), "")
        self.places.setdefault(name, place)
        return name if found.path == path else replace(found, path=name).name

    def __call__(self, name: str) -> bytes:
        """Content of an image."""
        column, group, row, number = self.places[address(name).path]
        key = os.getpid(), column, group
        if key not in self._groups:
            table = _open(self.path).read_row_group(group, columns=[column])
            self._groups[key] = table.column(column).to_pylist()
            while len(self._groups) > _KEPT * self.columns:
                self._groups.popitem(last=False)
        return _content(_cells(self._groups[key][row])[number]) or b""


def parquet_rows(reading: Reading) -> Iterator[tuple[int, Any]]:
    """Rows of a Parquet file; images that it holds can be read from `reading.content` afterwards."""
    try:
        yield from _rows(reading)
    except MissingExtraError:
        raise
    except Exception as cause:  # damaged files make pyarrow raise nearly anything
        first = (str(cause).splitlines() or [type(cause).__name__])[0]
        reading.report(None, "", f"the Parquet file cannot be read ({first})", "write or download it again")


def _rows(reading: Reading) -> Iterator[tuple[int, Any]]:
    file = _open(reading.path)
    names = tuple(file.schema_arrow.names)
    columns = image_columns(names, _IMAGE) or tuple(name for name in _IMAGE if name in names)[:1]
    columns = reading.wanted.image_columns or columns
    images, number = ParquetImages(reading.path, len(columns)), 0
    for group in range(file.num_row_groups):
        if file.metadata.row_group(group).total_byte_size > _LARGEST_GROUP:
            raise ValueError(f"row group {group} takes more than {_LARGEST_GROUP:,} bytes")
        for first, batch in _batches(file, group):
            for index, row in enumerate(batch.to_pylist(), start=first):
                number += 1
                for column in columns:
                    if _name_images(row, images, Place(column, group, index, 0), alone=len(columns) == 1):
                        reading.content = images
                yield number, row


def _name_images(row: dict[str, Any], images: ParquetImages, place: Place, *, alone: bool) -> bool:
    """Put names in place of the images of a cell, if it holds any; an image without a content has none."""
    cells = _cells(row.get(place.column))
    contents = [_content(cell) for cell in cells]
    if not any(contents):
        return False
    named = [
        None if content is None else images.add(content, place._replace(number=number), _path(cell))
        for number, (content, cell) in enumerate(zip(contents, cells, strict=True))
    ]
    if alone:
        row.pop(place.column)
    row["image" if alone else place.column] = named[0] if len(named) == 1 else named
    return True


def _batches(file: Any, group: int) -> Iterator[tuple[int, Any]]:
    first = 0
    for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group]):
        yield first, batch
        first += batch.num_rows


def _cells(value: Any) -> list[Any]:
    """The images of a cell: of a list its entries."""
    return value if isinstance(value, list) else [value]


def _content(value: Any) -> bytes | None:
    """Bytes of an image: bytes, or a `{"bytes", "path"}` with bytes in it."""
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) and content else None


def _path(value: Any) -> str:
    """The path beside an image's bytes, as the hub keeps it; "" where there is none."""
    found = value.get("path") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as cause:
        raise MissingExtraError("pyarrow is not installed", hint=pip_line("tables")) from cause
    try:
        return parquet.ParquetFile(path)
    except OSError as cause:
        raise DataError(f"the Parquet file cannot be read ({cause})", where=str(path)) from cause
