"""Pairs of samples in a file: the ids of both, or the numbers of their rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graphalign.errors import DataError
from graphalign.files.columns import INDEX_COLUMNS
from graphalign.files.embeddings import Embeddings, load_array
from graphalign.files.text import SEPARATORS, is_number

HINT = "two columns, row and column: ids where the file has them, else row numbers, counted from 0"
# Heads of what `exgra match` and `exgra align` write, which have more columns.
HEADS = (("row_id", "column_id"), ("row", "column"))


class NamedPair(NamedTuple):
    """A pair of rows by their numbers, the text that named the row, and where in the file."""

    row: int
    column: int
    name: str
    where: str


def read_named_pairs(path: Path, first: Embeddings, second: Embeddings) -> list[NamedPair]:
    """The pairs of a text file, in its order; its first line may be a header.

    Those columns are taken that the header calls `row_id` and `column_id`, or `row` and `column`, or by the names of
    the two files, in whatever order; else there must be two, of which the first is the row. An index such as pandas
    writes is left out.

    Raises:
        DataError: A line does not name a row of each file, or it is not clear which columns do.
    """
    lines = _lines(path)
    places = [{name: row for row, name in enumerate(side.ids)} for side in (first, second)]
    headed = bool(lines) and _is_header(lines[0][1], places)
    names = first.name.lower(), second.name.lower()
    heads = (*HEADS, names) if names[0] != names[1] else HEADS
    chosen = _columns(path, lines[0][1], headed, heads) if lines else (0, 1)
    pairs = []
    for number, line in lines[headed:]:
        cells = [line[i].strip() for i in chosen if i < len(line)]
        row, column = (place.get(cell) for place, cell in zip(places, [*cells, "", ""], strict=False))
        if len(line) != len(lines[0][1]) or row is None or column is None:
            say = f"{','.join(line):.80} is not a pair of ids of {first.name} and {second.name}"
            raise DataError(say, where=f"{path}: line {number}", hint="; ".join([HINT, *_rows_of(first, second)]))
        pairs.append(NamedPair(row, column, cells[0], f"{path}: line {number}"))
    return pairs


def _rows_of(*sides: Embeddings) -> list[str]:
    """What names the rows of files that have no ids."""
    return [
        f"{side.path.name} has no ids: its rows are 0 to {len(side.ids) - 1}"
        for side in sides
        if side.ids[0] == "0" and side.ids[-1] == str(len(side.ids) - 1)
    ]


def read_numbered_pairs(path: Path, shapes: Sequence[tuple[int, ...]], needed: str) -> np.ndarray:
    """Whole numbers of a .npy file as int64, in one of these shapes, in which -1 is any length; `needed` says so.

    Raises:
        DataError: The file is damaged, or holds other things.
    """
    held = load_array(path)
    fits = any(len(shape) == held.ndim and all(map(_fits, shape, held.shape)) for shape in shapes)
    if held.dtype.kind not in "iu" or not fits:
        say = f"needed {needed}; got {held.dtype} {held.shape}"
        raise DataError(say, where=str(path), hint="numpy.save(FILE, x.astype(int))")
    numbers: np.ndarray = held.astype(np.int64)
    return numbers


def _fits(needed: int, size: int) -> bool:
    return needed in (-1, size)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        top = file.readline()
        file.seek(0)
        separator = max(SEPARATORS, key=top.count)
        return [(number, line) for number, line in enumerate(csv.reader(file, delimiter=separator), 1) if line]


def _is_header(line: Sequence[str], places: Sequence[dict[str, int]]) -> bool:
    """Whether a line names columns: none of its cells is a number or a sample."""
    return not any(is_number(cell) or any(cell.strip() in place for place in places) for cell in line)


def _columns(path: Path, line: Sequence[str], headed: bool, heads: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """Which two columns hold the pairs: those with the names of a head, or the only two that there are."""
    names = [cell.strip().lower() for cell in line]
    if headed:
        for row, column in heads:
            if row in names and column in names:
                return names.index(row), names.index(column)
    kept = [i for i, name in enumerate(names) if not headed or len(names) == 2 or name not in INDEX_COLUMNS]
    if len(kept) != 2:
        say = f"needed two columns; got {len(line)}: {','.join(line):.80}"
        raise DataError(say, where=str(path), hint=f"{HINT}; or head them row and column")
    return kept[0], kept[1]
