"""The true pairs, where they are known, and how many of them a matching found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import Embeddings
from graphalign.files.named_pairs import HINT, NamedPair, read_named_pairs, read_numbered_pairs
from graphalign.files.pairing import Pairing

ALONE = -1  # in place of a column: the row has no true partner, or none is known


def true_columns(source: str, first: Embeddings, second: Embeddings, option: str = "--truth") -> np.ndarray:
    """The true column of every row, long (n), or ALONE.

    Args:
        source: `identity` (row i belongs to column i), a .npy file with one column number for each row or with pairs
            of numbers `(p, 2)`, or a .csv file with two columns, ids or numbers of rows and columns.
        first: the rows.
        second: the columns.
        option: how the command line calls it.

    Raises:
        ConfigError: The file does not exist or is of no known format.
        DataError: It names samples that are not there, or one twice.
    """
    path = Path(source)
    if source == "identity":
        return identity(first, second, option)
    if path.suffix.lower() not in (".npy", ".csv", ".tsv") or not path.is_file():
        say = f"needed `identity`, or a .npy, .csv or .tsv file that exists; got {source}"
        raise ConfigError(say, where=option, hint="a .csv file has two columns: id of the row, id of the column")
    rows = len(first.x)
    numbered = path.suffix.lower() == ".npy"
    truth = from_npy(path, rows) if numbered else from_pairs(read_named_pairs(path, first, second), rows)
    known = truth[truth != ALONE]
    if len(known) and not 0 <= known.min() <= known.max() < len(second.x):
        say = f"columns from {known.min()} to {known.max()}, and {second.name} has {len(second.x)} rows"
        raise DataError(say, where=str(path), hint=f"numbers start at 0; {ALONE} stands for no partner")
    if len(np.unique(known)) < len(known):
        raise DataError("a column is the partner of two rows", where=str(path), hint="leave one of them out")
    return truth


def identity(first: Embeddings, second: Embeddings, option: str) -> np.ndarray:
    n, m = len(first.x), len(second.x)
    if n != m:
        say = f"{option} identity needs as many rows in both files; {first.name} has {n} and {second.name} has {m}"
        raise DataError(say, where=str(second.path), hint="give a .csv file of pairs instead")
    return np.arange(n)


def from_npy(path: Path, rows: int) -> np.ndarray:
    needed = f"{rows} whole numbers, the column of each row, or pairs of them (p, 2)"
    held = read_numbered_pairs(path, [(rows,), (-1, 2)], needed)
    if held.ndim == 1:
        return held
    return from_pairs([NamedPair(int(row), int(column), str(row), str(path)) for row, column in held], rows)


def from_pairs(pairs: Sequence[NamedPair], rows: int) -> np.ndarray:
    """The column of each row, ALONE where no pair names it."""
    truth = np.full(rows, ALONE)
    for pair in pairs:
        if not 0 <= pair.row < rows or pair.column < 0:
            raise DataError(
                f"the pair ({pair.row}, {pair.column}), and there are {rows} rows", where=pair.where, hint=HINT
            )
        if truth[pair.row] != ALONE:
            hint = "a row has one partner: leave one out"
            raise DataError(f"{pair.name:.80} is named twice", where=pair.where, hint=hint)
        truth[pair.row] = pair.column
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
