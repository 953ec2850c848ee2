"""Embeddings from files: one row for each sample, in any of the usual formats."""

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
from graphalign.files.columns import check_unique, sort_columns
from graphalign.files.room import check_room
from graphalign.files.text import read_table, read_vec
from graphalign.names import nearest

Read = tuple[Any, Sequence[str], Sequence[str]]  # matrix, ids or none, notes
BYTES_OF_CSV = 4  # of memory for each byte of a file, while its words become numbers


class Embeddings(NamedTuple):
    """The samples of one file.

    Args:
        name: what the file is called here, its stem.
        path: where it was read.
        x: float32 or float64 `(n, d)`, finite.
        ids: n names of the samples; the row numbers, from 0 on, where the file has none.
        sha256: of the file.
        notes: what was not taken for a feature, one line each.
    """

    name: str
    path: Path
    x: np.ndarray
    ids: Sequence[str]
    sha256: str
    notes: Sequence[str] = ()


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
        there = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, [name for name in there if Path(name).suffix.lower() in READERS])
        hint = f"did you mean {path.with_name(near)}?" if near else "check the path"
        raise ConfigError(f"the file {path} does not exist", hint=hint)
    grows = BYTES_OF_CSV if path.suffix.lower() in (".csv", ".tsv", ".vec") else 1
    check_room(path.stat().st_size * grows, f"reading {path.name}")
    try:
        values, ids, notes = READERS[path.suffix.lower()](path)
    except (UnicodeDecodeError, csv.Error) as cause:
        raise broken(path, f"a {path.suffix} file", cause) from None
    x = checked_table(values, path)
    check_unique(ids, path)
    return Embeddings(name, path, x, ids or [str(row) for row in range(len(x))], digest(path), notes)


def looks_like_adjacency(x: np.ndarray) -> bool:
    """Whether a matrix is one of a graph's edges rather than of features: square, symmetric, and 0 on its diagonal."""
    n, m = x.shape
    return n == m > 2 and not x.diagonal().any() and bool((x >= 0).all()) and bool((x == x.T).all()) and bool(x.any())


def read_npy(path: Path) -> Read:
    return load_array(path), [], []


def load_array(path: Path) -> np.ndarray:
    """The array of a .npy file. Unlike `numpy.load`, it opens no archive and no pickle that has this ending.

    Raises:
        DataError: The file is none, is damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            held: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as cause:  # a damaged header raises nearly anything
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"
        if pickled or "allow_pickle" in str(cause):
            say = "the array holds Python objects, which are never loaded, as they could run any program"
            raise DataError(say, where=str(path), hint="save a matrix of numbers: numpy.save(FILE, x)") from None
        raise broken(path, "a .npy file", cause) from None
    return held


def read_pt(path: Path) -> Read:
    import torch

    try:
        whole = torch.sparse.check_sparse_tensor_invariants()  # type: ignore[no-untyped-call]  # indices stay inside
        with whole:
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
    try:
        x = found[0].detach().to_dense()
        return (x.float() if x.is_floating_point() and x.itemsize < 4 else x).numpy(), [], []
    except (RuntimeError, TypeError) as cause:  # without content (device meta), quantized, nested
        say = f"the tensor is of a kind that has no plain numbers: {str(cause).splitlines()[0]:.160}"
        raise DataError(say, where=str(path), hint="save it dense, as float32: torch.save(x.cpu(), FILE)") from None


def tensors(held: Any) -> list[Any]:
    """The matrices of a dictionary."""
    values = held.values() if isinstance(held, dict) else []
    return [value for value in values if getattr(value, "ndim", 0) == 2]


def read_npz(path: Path) -> Read:
    """The one matrix of an archive, with names of the rows where it has as many words; or a sparse matrix of scipy."""
    try:
        with np.load(path, allow_pickle=False) as held:
            found = {name: held[name] for name in held.files}
    except Exception as cause:  # a damaged archive raises nearly anything
        raise broken(path, "a .npz file", cause) from None
    if {"format", "shape", "data"} <= found.keys():
        return read_sparse_npz(path), [], []
    matrices = [name for name, x in found.items() if x.ndim == 2 and x.dtype.kind in "fiu"]
    if len(matrices) != 1:
        say = f"needed one matrix; the file holds {len(matrices)}: {', '.join(matrices) or ', '.join(found)}"
        raise DataError(say, where=str(path), hint="numpy.save(FILE, x) keeps one matrix alone")
    x = found[matrices[0]]
    words = [held for held in found.values() if held.ndim == 1 and held.dtype.kind == "U" and len(held) == len(x)]
    return x, [str(name) for name in words[0]] if words else [], []


def read_sparse_npz(path: Path) -> np.ndarray:
    """A sparse matrix that scipy saved, as a table."""
    from scipy.sparse import load_npz

    try:
        return dense(load_npz(path), path)
    except (ValueError, TypeError, LookupError, OverflowError, NotImplementedError) as cause:
        raise broken(path, "a .npz file of scipy.sparse", cause) from None


def dense(x: Any, path: Path) -> np.ndarray:
    """A sparse matrix of scipy as a table, whose indices are checked first: scipy believes those of a file."""
    check_room(8 * float(np.prod(x.shape)), f"the matrix of {path.name}, {' x '.join(map(str, x.shape))}")
    if hasattr(x, "check_format"):
        x.check_format(full_check=True)
    table: np.ndarray = x.toarray()
    return table


def read_h5ad(path: Path) -> Read:
    """The matrix `X` of an AnnData file, with the names of its observations."""
    try:
        import h5py
    except ImportError as cause:
        raise MissingExtraError(".h5ad files need h5py", hint=pip_line("h5ad")) from cause
    try:
        with h5py.File(path, "r") as file:
            held, names = file["X"], file["obs"]
            if isinstance(held, h5py.Group):
                from scipy.sparse import csc_array, csr_array

                kind = csc_array if "csc" in str(held.attrs["encoding-type"]) else csr_array
                parts = (held["data"][:], held["indices"][:], held["indptr"][:])
                x = dense(kind(parts, shape=tuple(held.attrs["shape"])), path)
            else:
                check_room(8 * float(np.prod(held.shape)), f"the matrix of {path.name}")
                x = held[:]
            index = names.attrs.get("_index", "_index")
            ids = [name.decode() if isinstance(name, bytes) else str(name) for name in names[index][:]]
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as cause:
        raise broken(path, "an .h5ad file", cause) from None
    return x, ids, []


def read_parquet(path: Path) -> Read:
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
    if len(lists) > 1:
        say = f"needed one column of lists; the file has {len(lists)}: {', '.join(lists)}"
        raise DataError(say, where=str(path), hint="keep the column that is to be matched")
    plain = [name for name in kinds if name not in lists]
    cells = {name: table[name].to_pylist() for name in plain}
    values = [None if any(isinstance(one, str) for one in cells[name][:9]) else numbers(cells[name]) for name in plain]
    found = sort_columns(plain, values, path)
    ids = [] if found.ids is None else [str(value) for value in cells[plain[found.ids]]]
    if lists:
        return stacked(path, table[lists[0]].to_pylist()), ids, []
    return np.array([cells[plain[i]] for i in found.features], dtype=object).T, ids, found.notes


def numbers(cells: list[Any]) -> np.ndarray:
    """Cells as float64; NaN for one that is not a number."""
    try:
        return np.array(cells, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(len(cells), np.nan)


def is_list(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind))


def stacked(path: Path, rows: list[Any]) -> np.ndarray:
    widths = {len(row) if row is not None else 0 for row in rows}
    if len(widths) > 1:
        say = f"rows of different widths, from {min(widths)} to {max(widths)}"
        raise DataError(say, where=str(path), hint="give every row as many numbers")
    return np.array(rows, dtype=object)


READERS: dict[str, Callable[[Path], Read]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_pt,
    ".parquet": read_parquet,
    ".csv": read_table,
    ".tsv": read_table,
    ".vec": read_vec,
    ".h5ad": read_h5ad,
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
        say = f"needed a matrix (samples, width) with at least one row and one column; got the shape {x.shape}"
        flat = "x.reshape(len(x), -1) makes one row of each sample"
        raise DataError(say, where=str(path), hint="the file holds no numbers" if x.size == 0 else flat)
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
