"""Which columns of a table are features, and which name the rows or only count them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphalign.errors import DataError

ID_COLUMNS = ("id", "ids", "key", "name", "sample")
INDEX_COLUMNS = ("", "index", "unnamed: 0", "__index_level_0__")  # as pandas writes its index
FEWEST = 4  # rows below which whole numbers in order say nothing


class Columns(NamedTuple):
    """The columns of a table by what they are.

    Args:
        ids: number of the column that names the rows; None without one.
        features: numbers of the others that are to be matched.
        notes: what is not a feature although it holds numbers, one line each.
    """

    ids: int | None
    features: list[int]
    notes: list[str]


def sort_columns(names: Sequence[str], values: Sequence[Any], path: Path) -> Columns:
    """Tell features from what names or counts the rows.

    Words, and columns called id, name the rows; pandas' index, and whole numbers that only ever rise, count them.

    Args:
        names: of the columns; all of them "" where the file has no head line.
        values: float64 `(n,)` for each column, or None for a column of words.
        path: the file, for messages.

    Raises:
        DataError: Two columns hold words.
    """
    headless = not any(names)
    words = [i for i, column in enumerate(values) if column is None]
    if len(words) > 1:
        told = ", ".join(repr(names[i]) if names[i] else str(i + 1) for i in words[:8])
        hint = "keep one column of words, which names the rows"
        raise DataError(f"several columns hold words: {told}", where=str(path), hint=hint)
    called = [i for i, name in enumerate(names) if name.strip().lower() in ID_COLUMNS]
    index = [i for i, name in enumerate(names) if not headless and name.strip().lower() in INDEX_COLUMNS]
    rising = [i for i, column in enumerate(values) if column is not None and rises(column, from_start=headless)]
    rising = [i for i in rising if i not in called + index and (not headless or i == 0)]
    others = {*words, *called, *index, *rising}
    features = [i for i in range(len(values)) if i not in others]
    if not features:  # nothing would be left: then what only counts is what there is
        features = rising
        rising = []
    if not features and not words + called:
        features, index = index, []
    candidates = [*words, *called, *rising, *index]
    notes = [
        f"the column {names[i] or i + 1!r} holds whole numbers in order: it names the rows and is not a feature"
        for i in rising
    ]
    return Columns(candidates[0] if candidates else None, features, notes)


def rises(column: np.ndarray, *, from_start: bool = False) -> bool:
    """Whether numbers are whole, unique and in order; `from_start`, and count up by one from 0 or 1."""
    if len(column) < FEWEST or not bool((column == np.round(column)).all()):
        return False
    steps = np.diff(column)
    return bool((steps == 1).all() and column[0] in (0, 1)) if from_start else bool((steps > 0).all())


def check_unique(ids: Sequence[str], path: Path) -> None:
    """Refuse ids that name several rows: a pair could not say which of them it means.

    Raises:
        DataError: An id stands several times.
    """
    if len(set(ids)) < len(ids):
        again = [name for name, count in Counter(ids).items() if count > 1]
        say = f"{len(again)} ids name several rows: {', '.join(again[:8])}"
        raise DataError(say, where=str(path), hint="give every row an id of its own, or leave the ids out")
