"""The true pairs, where they are known, and how many of them a matching found."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import Embeddings
from graphalign.files.pairing import Pairing
from graphalign.files.text import is_number

ALONE = -1  # in place of a column: the row has no true partner, or none is known


def true_columns(source: str, first: Embeddings, second: Embeddings, option: str = "--truth") -> np.ndarray:
    """The true column of every row, long (n), or ALONE.

    Args:
        source: `identity` (row i belongs to column i), a .npy file with one column number for each row, or a .csv file
            with two columns, ids or numbers of rows and columns.
        first: the rows.
        second: the columns.
        option: how the command line calls it.

    Raises:
        ConfigError: The file does not exist or is of no known format.
        DataError: It names samples that are not there, or one twice.
    """
    path = Path(source)
    if source == "identity":
        return identity(first, second)
    if path.suffix.lower() not in (".npy", ".csv", ".tsv") or not path.is_file():
        say = f"needed `identity`, or a .npy, .csv or .tsv file that exists; got {source}"
        raise ConfigError(say, where=option, hint="a .csv file has two columns: id of the row, id of the column")
    truth = from_npy(path, len(first.x)) if path.suffix.lower() == ".npy" else from_csv(path, first, second)
    known = truth[truth != ALONE]
    if len(known) and not 0 <= known.min() <= known.max() < len(second.x):
        say = f"columns from {known.min()} to {known.max()}, and {second.name} has {len(second.x)} rows"
        raise DataError(say, where=str(path), hint=f"numbers start at 0; {ALONE} stands for no partner")
    if len(np.unique(known)) < len(known):
        raise DataError("a column is the partner of two rows", where=str(path), hint="leave one of them out")
    return truth


def identity(first: Embeddings, second: Embeddings) -> np.ndarray:
    n, m = len(first.x), len(second.x)
    if n != m:
        say = f"--truth identity needs as many rows in both files; {first.name} has {n} and {second.name} has {m}"
        raise DataError(say, where=str(second.path), hint="give a .csv file of true pairs instead")
    return np.arange(n)


def from_npy(path: Path, rows: int) -> np.ndarray:
    try:
        truth = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OverflowError, MemoryError) as cause:
        raise DataError(f"cannot be read: {cause}", where=str(path), hint="numpy.save(FILE, columns)") from None
    if truth.shape != (rows,) or truth.dtype.kind not in "iu":
        say = f"needed {rows} whole numbers, the column of each row; got {truth.dtype} {truth.shape}"
        raise DataError(say, where=str(path), hint="numpy.save(FILE, columns.astype(int))")
    columns: np.ndarray = truth.astype(np.int64)
    return columns


def from_csv(path: Path, first: Embeddings, second: Embeddings) -> np.ndarray:
    with path.open(newline="", encoding="utf-8-sig") as file:
        top = file.readline()
        file.seek(0)
        separator = max((",", ";", "\t"), key=top.count)
        lines = [line for line in csv.reader(file, delimiter=separator) if line]
    places = [{name: row for row, name in enumerate(side.ids)} for side in (first, second)]
    truth, named = np.full(len(first.x), ALONE), set()
    for number, line in enumerate(lines, 1):
        found = [place.get(cell.strip()) for place, cell in zip(places, line, strict=False)]
        if len(found) == 2 and None not in found:
            if truth[found[0]] not in (ALONE, found[1]) or (found[0], found[1]) in named:
                say = f"{line[0]:.80} is named twice"
                raise DataError(say, where=f"{path}: line {number}", hint="a row has one true partner: leave one out")
            named.add((found[0], found[1]))
            truth[found[0]] = found[1]
        elif number > 1 or any(map(is_number, line)):  # the first line may be a header
            say = f"{','.join(line):.80} is not a pair of ids of {first.name} and {second.name}"
            raise DataError(say, where=f"{path}: line {number}", hint="two columns: id of the row, id of the column")
    return truth


def accuracy(pairing: Pairing, truth: np.ndarray) -> dict[str, float | int | None]:
    """How many of the known true pairs were found, and how many of the pairs made are true."""
    made = truth[pairing.rows]
    right, known = int((made == pairing.columns).sum()), int((truth != ALONE).sum())
    return {
        "accuracy": right / known if known else None,
        "right": right,
        "of": known,
        "precision": right / len(pairing.rows) if len(pairing.rows) else None,
        "chance": 1 / max(len(truth), len(pairing.second.x)),
    }
