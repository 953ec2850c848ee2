"""One sample out of a shard: its record as JSON and its image's bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graphalign.extras import pip_line
from medmllm.data.shards.index import Index, Shard
from medmllm.data.shards.webdataset import OFFSETS, record_of
from medmllm.errors import DataError, MissingExtraError

OPENS = "opens"  # field beside a record's own: the name under which its bytes are opened, where that is another
OPEN = 32  # arrays of offsets, or row groups, that a process keeps at hand


class Shards(Protocol):
    """Reads samples of one layout."""

    def record(self, shard: Shard, row: int) -> dict[str, Any]: ...

    def image(self, shard: Shard, row: int, number: int = 0) -> bytes: ...

    def has_several(self, shard: Shard) -> bool:
        """Whether a sample of the shard may have several images."""

    def check(self, shard: Shard) -> None:
        """Raise DataError where the shard does not have as many samples as the index says."""


def reader(index: Index) -> Shards:
    """What reads the shards of an index."""
    return TarShards(index.folder) if index.layout == "tar" else ParquetShards(index.folder)


class TarShards:
    """Tar files in WebDataset's layout: `KEY.json` and `KEY.png` follow each other.

    Where each member begins is in an array beside the file, (samples, 4) int64: offset and size of the record,
    offset and size of the image; of tars that others wrote (samples, 6), as a text may be beside the record or in
    its place; and two numbers more for each further image. It is mapped, not read, so a sample costs two reads and no
    search.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets = lru_cache(maxsize=OPEN)(self._mapped)

    def __reduce__(self) -> Any:
        return type(self), (self.folder,)  # what is mapped does not travel to another process

    def record(self, shard: Shard, row: int) -> dict[str, Any]:
        own = self._member(shard, row, 0)
        if self._offsets(shard.file).shape[1] == 4:
            found: dict[str, Any] = json.loads(own)
            return found
        images = int((self._offsets(shard.file)[row, 3::2] > 0).sum() - (self._offsets(shard.file)[row, 5] > 0))
        return record_of(self.folder / shard.file, row, own, self._member(shard, row, 4), images)

    def image(self, shard: Shard, row: int, number: int = 0) -> bytes:
        return self._member(shard, row, 2 if number == 0 else 4 + 2 * number)

    def has_several(self, shard: Shard) -> bool:
        return self._offsets(shard.file).shape[1] > 6

    def check(self, shard: Shard) -> None:
        try:
            offsets = self._mapped(shard.file)
            _check_count(len(offsets), shard)
            ends = offsets[-1, ::2] + offsets[-1, 1::2]
            if ends.max() > (self.folder / shard.file).stat().st_size:
                raise ValueError("the file is shorter than its index says")
        except (OSError, ValueError) as error:
            raise damaged(self.folder / shard.file, shard.samples - 1, error) from error

    def _member(self, shard: Shard, row: int, column: int) -> bytes:
        try:
            start, size = self._offsets(shard.file)[row, column : column + 2].tolist()
            with (self.folder / shard.file).open("rb") as file:
                if start < 0 or size < 0 or start + size > os.fstat(file.fileno()).st_size:
                    raise ValueError("the file is shorter than its index says")
                file.seek(start)
                return file.read(size)
        except (OSError, ValueError, IndexError) as error:
            raise damaged(self.folder / shard.file, row, error) from error

    def _mapped(self, name: str) -> np.ndarray:
        try:
            offsets: np.ndarray = np.lib.format.open_memmap(self.folder / (name + OFFSETS), mode="r")
        except OSError:
            raise
        except Exception as error:  # a damaged header raises nearly anything
            raise ValueError(f"{name + OFFSETS} is damaged") from error
        if offsets.ndim != 2 or offsets.shape[1] < 4 or offsets.shape[1] % 2 or offsets.dtype != np.int64:
            raise ValueError(f"{name + OFFSETS} holds no offsets")
        return offsets


class ParquetShards:
    """Parquet files with the columns `record` (JSON) and `image` (bytes); row groups are read whole and kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._group = lru_cache(maxsize=OPEN)(self._read_group)
        self._rows = lru_cache(maxsize=OPEN)(self._read_rows)

    def __reduce__(self) -> Any:
        return type(self), (self.folder,)

    def record(self, shard: Shard, row: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._group(shard.file, shard.part, "record")[row].as_py())
        return found

    def image(self, shard: Shard, row: int, number: int = 0) -> bytes:
        found: bytes | list[bytes] = self._group(shard.file, shard.part, "image")[row].as_py()
        return found[number] if isinstance(found, list) else found

    def has_several(self, shard: Shard) -> bool:
        kind = self._group(shard.file, shard.part, "image").type
        return str(kind).startswith("list")

    def check(self, shard: Shard) -> None:
        try:
            _check_count(self._rows(shard.file)[shard.part], shard)
        except (OSError, ValueError, IndexError) as error:
            raise damaged(self.folder / shard.file, 0, error) from error

    def _read_rows(self, name: str) -> list[int]:
        """Rows of each row group of a file."""
        with parquet().ParquetFile(self.folder / name) as file:
            missing = {"record", "image"} - set(file.schema_arrow.names)
            if missing:
                raise ValueError(f"it has no column {min(missing)}")
            return [file.metadata.row_group(part).num_rows for part in range(file.num_row_groups)]

    def _read_group(self, name: str, part: int, column: str) -> Any:
        try:
            return parquet().ParquetFile(self.folder / name).read_row_group(part, [column]).column(column)
        except (OSError, ValueError) as error:
            raise damaged(self.folder / name, 0, error) from error


def _check_count(there: int, shard: Shard) -> None:
    if there != shard.samples:
        raise ValueError(f"it has {there:,} samples and the index says {shard.samples:,}")


def parquet() -> Any:
    """pyarrow's module for Parquet."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Parquet needs pyarrow, which is not installed", hint=pip_line("tables")) from error
    return parquet


def members(offset: int, size: int) -> Iterator[int]:
    """Where a tar member's content begins, and where the next header does: blocks of 512 bytes, a header before."""
    yield offset + 512
    yield offset + 512 + -(-size // 512) * 512


def damaged(path: Path, row: int, why: object) -> DataError:
    """The error of a sample that is not as it was written; `row` counts from 0."""
    return DataError(f"the shard cannot be read ({why})", where=f"{path}: row {row + 1}", hint="copy or write it again")
