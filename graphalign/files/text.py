"""Matrices in text files: tables separated by commas, semicolons or tabs, and word vectors."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from graphalign.errors import DataError
from graphalign.files.columns import ID_COLUMNS, INDEX_COLUMNS, sort_columns

SEPARATORS = (",", ";", "\t")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


def read_table(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """A table of numbers; a first line without numbers is its head."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        top = file.readline()
        usual = "\t" if path.suffix.lower() == ".tsv" else ","
        refuse_decimal_commas(path, [top, file.readline()])
        file.seek(0)
        separator = max((usual, *SEPARATORS), key=top.count)
        rows = [row for row in csv.reader(file, delimiter=separator) if row]
    head = [cell.strip() for cell in rows.pop(0)] if rows and is_header(rows) else []
    width, first_line = (len(rows[0]) if rows else 0), 1 + bool(head)
    names = head if len(head) == width else [""] * (width - len(head)) + head  # R leaves the name of ids out
    words = [i for i, cell in enumerate(rows[0] if rows else []) if not is_number(cell)]
    numbers = csv_numbers(path, rows, first_line, words)
    values = [None if i in words else numbers[:, i] for i in range(width)]
    found = sort_columns(names[:width] if width else [], values, path)
    ids = [] if found.ids is None else [row[found.ids].strip() for row in rows]
    counted = bool(head) and all(map(is_number, head))
    notes = ["the first line counts the columns from 0: it is the header and not a sample"] if counted else []
    return numbers[:, found.features], ids, [*found.notes, *notes]


def refuse_decimal_commas(path: Path, lines: list[str]) -> None:
    """Raise DataError if the cells of a line are numbers as written in much of Europe, 0,5 for a half."""
    for number, line in enumerate(lines, start=1):
        for separator in (";", "\t"):
            cells = [cell.strip().strip('"') for cell in line.split(separator)]
            if len(cells) > 1 and any(map(DECIMAL_COMMA.fullmatch, cells)):
                read = f"pandas.read_csv(FILE, sep={separator!r}, decimal=',')"
                raise DataError(
                    "the numbers have decimal commas",
                    where=f"{path}: line {number}",
                    hint=f"save the table with decimal points, for example by {read}.to_csv(NEW, index=False)",
                )


def is_header(rows: list[list[str]]) -> bool:
    """Whether the first line names columns: it has a word where the second has a number, or an id's name first."""
    if len(rows) == 1:
        return not any(map(is_number, rows[0]))
    if len(rows[0]) > 1 and not any(is_number(cell) for row in rows[:2] for cell in row):
        return True  # a table of words, which is refused: its first line has the names for the message
    words = [is_number(below) and not is_number(cell) for cell, below in zip(*rows[:2], strict=False)]
    return (
        any(words)
        or counts_columns(*rows[:2])
        or rows[0][0].strip().lower() in (*ID_COLUMNS, *filter(None, INDEX_COLUMNS))
    )


def counts_columns(line: list[str], below: list[str]) -> bool:
    """Whether a line is 0, 1, 2, ..., the head of a frame whose columns have no names, and not a row like the next."""
    counted = [cell.strip() for cell in line] == [str(i) for i in range(len(line))]
    return counted and (len(line) > 3 or (len(line) > 1 and not all(cell.strip().isdigit() for cell in below)))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_numbers(path: Path, rows: list[list[str]], first_line: int, words: list[int]) -> np.ndarray:
    """All cells as numbers, 0 in the columns of words."""
    width = len(rows[0]) if rows else 0
    out = np.zeros((len(rows), width), dtype=np.float64)
    columns = [i for i in range(width) if i not in words]
    for number, row in enumerate(rows):
        where = f"{path}: line {number + first_line}"
        if len(row) != width:
            raise DataError(f"{len(row)} cells where the first row has {width}", where=where, hint="fill the gaps")
        try:
            out[number, columns] = [float(row[i]) for i in columns]
        except ValueError as cause:
            raise DataError(
                f"not a number: {cause}", where=where, hint="one column of words may name the rows"
            ) from None
    return out


def read_vec(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """Word vectors as of word2vec, GloVe and fastText: a word, then its numbers; a first line may count them."""
    with path.open(encoding="utf-8") as file:
        lines = [line.rstrip().split(" ") for line in file if line.strip()]
    counted = lines and len(lines[0]) == 2 and all(cell.isdigit() for cell in lines[0])
    lines = lines[1:] if counted else lines
    numbers = csv_numbers(path, lines, 1 + bool(counted), [0])
    return numbers[:, 1:], [line[0] for line in lines], []
