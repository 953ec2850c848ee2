"""Embeddings from files: one row for each sample, in any of four formats."""

from __future__ import annotations

import csv
import hashlib
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphalign.errors import ConfigError, DataError, MissingExtraError
from graphalign.extras import pip_line
from graphalign.files.room import check_room

ID_COLUMNS = ("id", "ids", "key", "name", "sample")
BYTES_OF_CSV = 4  # of memory for each byte of a file, while its words become numbers


class Embeddings(NamedTuple):
    """The samples of one file.

    Args:
        name: what the file is called here, its stem.
        path: where it was read.
        x: float32 or float64 `(n, d)`, finite.
        ids: n names of the samples; the row numbers, from 0 on, where the file has none.
        sha256: of the file.
    """

    name: str
    path: Path
    x: np.ndarray
    ids: Sequence[str]
    sha256: str


def read_embeddings(path: Path, name: str) -> Embeddings:
    """The embeddings of a file.

    Raises:
        ConfigError: The file does not exist, or its ending is of no known format.
        DataError: It holds no finite matrix of numbers, or is too large for the memory of this machine.
        MissingExtraError: The format needs a package that is not installed.
    """
    if path.suffix.lower() not in READERS:
        say = f"{path.name} is of no known format; known are {', '.join(READERS)}"
        raise ConfigError(say, where=str(path), hint="save the matrix with numpy.save, and give the .npy file")
    if not path.is_file():
        raise ConfigError(f"the file {path} does not exist", hint="look at the path")
    check_room(path.stat().st_size * (BYTES_OF_CSV if path.suffix == ".csv" else 1), f"reading {path.name}")
    values, ids = READERS[path.suffix.lower()](path)
    x = checked_table(values, path)
    return Embeddings(name, path, x, ids or [str(row) for row in range(len(x))], digest(path))


def read_npy(path: Path) -> tuple[Any, list[str]]:
    try:
        return np.load(path, allow_pickle=False), []
    except (ValueError, EOFError, OverflowError, MemoryError) as cause:  # a header may give any size
        if "allow_pickle" in str(cause):
            say = "the array holds Python objects, which are never loaded, as they could run any program"
            raise DataError(say, where=str(path), hint="save a matrix of numbers: numpy.save(FILE, x)") from None
        raise broken(path, "a .npy file", cause) from None


def read_pt(path: Path) -> tuple[Any, list[str]]:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        say = "the file holds more than tensors, which is never loaded, as it could run any program"
        raise DataError(say, where=str(path), hint="save a tensor alone: torch.save(x.detach().cpu(), FILE)") from None
    except (RuntimeError, EOFError, ValueError) as cause:
        raise broken(path, "a .pt file", cause) from None
    found = [held] if isinstance(held, torch.Tensor) else tensors(held)
    if len(found) != 1:
        say = f"needed one tensor; the file holds {len(found)} matrices in a {type(held).__name__}"
        raise DataError(say, where=str(path), hint="save a tensor alone: torch.save(x.detach().cpu(), FILE)")
    check_room(found[0].numel() * found[0].element_size(), f"the tensor of {path.name}")
    x = found[0].detach().to_dense()
    return (x if x.dtype != torch.bfloat16 else x.float()).numpy(), []


def tensors(held: Any) -> list[Any]:
    """The matrices of a dictionary."""
    values = held.values() if isinstance(held, dict) else []
    return [value for value in values if getattr(value, "ndim", 0) == 2]


def read_csv(path: Path) -> tuple[Any, list[str]]:
    """A table of numbers; a first line without numbers is a header, a column of words or called id names the rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as cause:
        raise broken(path, "a .csv file", cause) from None
    head = rows.pop(0) if rows and is_header(rows) else []
    named = bool(head and head[0].strip().lower() in ID_COLUMNS) or bool(rows and not is_number(rows[0][0]))
    first = int(named)
    return csv_numbers(path, [row[first:] for row in rows], 1 + bool(head)), [row[0] for row in rows] if named else []


def is_header(rows: list[list[str]]) -> bool:
    """Whether the first line names columns: it has a word where the second has a number, or an id's name first."""
    if len(rows) == 1:
        return not any(map(is_number, rows[0]))
    words = [is_number(below) and not is_number(cell) for cell, below in zip(*rows[:2], strict=False)]
    return any(words) or rows[0][0].strip().lower() in ID_COLUMNS


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_numbers(path: Path, rows: list[list[str]], first_line: int) -> np.ndarray:
    width = len(rows[0]) if rows else 0
    out = np.empty((len(rows), width), dtype=np.float64)
    for number, row in enumerate(rows):
        where = f"{path}: line {number + first_line}"
        if len(row) != width:
            raise DataError(f"{len(row)} numbers where the first row has {width}", where=where, hint="fill the gaps")
        try:
            out[number] = [float(cell) for cell in row]
        except ValueError as cause:
            raise DataError(f"not a number: {cause}", where=where, hint="ids belong in the first column") from None
    return out


def read_parquet(path: Path) -> tuple[Any, list[str]]:
    """A list column, or all columns of numbers; a column of words or called id names the rows."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as cause:
        raise MissingExtraError("parquet files need pyarrow", hint=pip_line("tables")) from cause
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError) as cause:
        raise broken(path, "a .parquet file", cause) from None
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    lists = [name for name, kind in kinds.items() if is_list(arrow, kind)]
    ids = [name for name, kind in kinds.items() if arrow.types.is_string(kind) or name.lower() in ID_COLUMNS]
    names = [str(value) for value in table[ids[0]].to_pylist()] if ids else []
    if len(lists) > 1:
        say = f"needed one column of lists; the file has {len(lists)}: {', '.join(lists)}"
        raise DataError(say, where=str(path), hint="keep the column that is to be matched")
    if lists:
        return stacked(path, table[lists[0]].to_pylist()), names
    numbers = [name for name in kinds if name not in ids]
    return np.array([table[name].to_pylist() for name in numbers], dtype=object).T, names


def is_list(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind))


def stacked(path: Path, rows: list[Any]) -> np.ndarray:
    widths = {len(row) if row is not None else 0 for row in rows}
    if len(widths) > 1:
        say = f"rows of different widths, from {min(widths)} to {max(widths)}"
        raise DataError(say, where=str(path), hint="give every row as many numbers")
    return np.array(rows, dtype=object)


READERS: dict[str, Callable[[Path], tuple[Any, list[str]]]] = {
    ".npy": read_npy,
    ".pt": read_pt,
    ".parquet": read_parquet,
    ".csv": read_csv,
}


def checked_table(values: Any, path: Path) -> np.ndarray:
    """The values as a finite matrix in float32, or float64 where they come in it."""
    try:
        x = np.asarray(values)
        x = x.astype(np.float64) if x.dtype.kind in "OiubU" else x
    except (TypeError, ValueError) as cause:
        raise DataError(f"not a matrix of numbers: {cause}", where=str(path), hint="keep numbers only") from None
    if x.dtype.kind != "f":
        raise DataError(f"needed numbers; got the type {x.dtype}", where=str(path), hint="convert to float32")
    if x.ndim != 2 or 0 in x.shape:
        say = f"needed a matrix (samples, width) with a row and a column at least; got the shape {x.shape}"
        raise DataError(say, where=str(path), hint="x.reshape(len(x), -1) makes one row of each sample")
    x = x.astype(np.float64 if x.dtype.itemsize > 4 else np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad):
        say = f"{len(bad)} of {len(x)} rows have a number that is NaN or infinite"
        raise DataError(
            say, where=f"{path}: row {bad[0]} (the first is 0)", hint="leave these samples out of all files"
        )
    return x


def broken(path: Path, what: str, cause: Exception) -> DataError:
    reason = (str(cause).splitlines() or [type(cause).__name__])[0]
    return DataError(f"cannot be read as {what}: {reason:.160}", where=str(path), hint="save the file again")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
