"""Parquet files, also those that hold their images, as the Hugging Face hub serves them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from graphalign.extras import pip_line
from medmllm.data.formats.reading import Reading
from medmllm.data.scans.address import SCAN_ENDINGS, address
from medmllm.errors import DataError, MissingExtraError

_ROWS = 64  # rows decoded at once
_KEPT = 2  # row groups kept while images are read in any order
_LARGEST_GROUP = 2**32  # bytes that one row group may take when decoded
_IMAGE = ("image", "images", "img")


class ParquetImages:
    """Images inside a Parquet file, by the name that their content gives them; equal images have one name.

    Reading one image decodes its whole row group; the last groups are kept.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self.places: dict[str, tuple[int, int]] = {}
        self._groups: OrderedDict[tuple[int, int], list[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}

    def add(self, content: bytes, group: int, index: int, path: str = "") -> str:
        """Remember where an image is; returns its name, which keeps what a path says of a scan: its kind and slice."""
        name = f"image-{sha256(content).hexdigest()[:20]}"
        found = address(path)
        if not found.is_picture:
            name += next((ending for ending in SCAN_ENDINGS if found.path.lower().endswith(ending)), "")
        self.places.setdefault(name, (group, index))
        return name if found.path == path else replace(found, path=name).name

    def __call__(self, name: str) -> bytes:
        """Content of an image."""
        group, index = self.places[address(name).path]
        key = os.getpid(), group
        if key not in self._groups:
            table = _open(self.path).read_row_group(group, columns=[self.column])
            self._groups[key] = table.column(self.column).to_pylist()
            while len(self._groups) > _KEPT:
                self._groups.popitem(last=False)
        return _content(self._groups[key][index]) or b""


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
    column = next((name for name in _IMAGE if name in file.schema_arrow.names), None)
    images = ParquetImages(reading.path, column) if column else None
    number = 0
    for group in range(file.num_row_groups):
        if file.metadata.row_group(group).total_byte_size > _LARGEST_GROUP:
            raise ValueError(f"row group {group} takes more than {_LARGEST_GROUP:,} bytes")
        for first, batch in _batches(file, group):
            for index, row in enumerate(batch.to_pylist(), start=first):
                number += 1
                content = _content(row.get(column)) if images else None
                if images and column and content is not None:
                    path = _path(row.pop(column))
                    row["image"] = images.add(content, group, index, path)
                    reading.content = images
                yield number, row


def _batches(file: Any, group: int) -> Iterator[tuple[int, Any]]:
    first = 0
    for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group]):
        yield first, batch
        first += batch.num_rows


def _content(value: Any) -> bytes | None:
    """Bytes of an image cell: bytes, or a `{"bytes", "path"}` with bytes in it, also as a list of one."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
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
