"""Pairs that a person fixes or forbids, by ids or numbers of rows, and the best candidates of each row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import Embeddings
from graphalign.files.room import check_room
from graphalign.files.text import is_number
from graphalign.solvers.pair_scores import PairScores

BLOCK = 2**22  # scores that are looked at in one go


class Constraints(NamedTuple):
    """Pairs of numbers of rows, int64 `(k, 2)`; None where there are none."""

    seeds: np.ndarray | None = None
    forbidden: np.ndarray | None = None

    def mask(self, first: Embeddings, second: Embeddings) -> torch.Tensor | None:
        """Bool `(n, m)`, True at forbidden pairs."""
        if self.forbidden is None:
            return None
        n, m = len(first.x), len(second.x)
        check_room(n * m, f"a mask of {n:,} x {m:,} pairs")
        mask = torch.zeros(n, m, dtype=torch.bool)
        mask[self.forbidden[:, 0], self.forbidden[:, 1]] = True
        return mask


def read_pairs(path: Path, first: Embeddings, second: Embeddings, option: str) -> np.ndarray:
    """Return the pairs of a file as numbers of rows, int64 `(k, 2)`.

    Args:
        path: A .csv file with two columns, the ids (or, in files without ids, the numbers) of a row of each file; its
            first line may be a header. Or a .npy file of numbers `(k, 2)`.
        first: The rows.
        second: The columns.
        option: Who asks, for errors.

    Raises:
        ConfigError: The file does not exist or is of no known format.
        DataError: It names a sample that is not there.
    """
    if path.suffix.lower() not in (".npy", ".csv") or not path.is_file():
        raise ConfigError(
            f"needed a .npy or .csv file that exists; got {path}",
            where=option,
            hint="a .csv of two columns: id of the row, id of the column",
        )
    pairs = _from_npy(path) if path.suffix.lower() == ".npy" else _from_csv(path, first, second)
    outside = (pairs < 0).any(1) | (pairs[:, 0] >= len(first.x)) | (pairs[:, 1] >= len(second.x))
    if outside.any():
        say = f"the pair {tuple(pairs[outside][0].tolist())}, and there are {len(first.x)} and {len(second.x)} rows"
        raise DataError(say, where=str(path), hint="numbers of rows start at 0")
    return pairs


def _from_npy(path: Path) -> np.ndarray:
    try:
        pairs = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as cause:
        raise DataError(f"cannot be read: {cause}", where=str(path), hint="numpy.save(FILE, pairs)") from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        say = f"needed whole numbers (pairs, 2); got {pairs.dtype} {pairs.shape}"
        raise DataError(say, where=str(path), hint="numpy.save(FILE, pairs.astype(int))")
    numbers: np.ndarray = pairs.astype(np.int64)
    return numbers


def _from_csv(path: Path, first: Embeddings, second: Embeddings) -> np.ndarray:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    places = [{name: row for row, name in enumerate(side.ids)} for side in (first, second)]
    pairs: list[tuple[int, int]] = []
    for number, line in enumerate(lines, 1):
        found = [place.get(cell.strip()) for place, cell in zip(places, line, strict=False)]
        row, column = found if len(found) == 2 else (None, None)
        if row is not None and column is not None:
            pairs.append((row, column))
        elif number > 1 or any(map(is_number, line)):  # the first line may be a header
            say = f"{','.join(line):.80} is not a pair of ids of {first.name} and {second.name}"
            hint = "two columns, row and column: ids where the file has them, else row numbers, counted from 0"
            raise DataError(say, where=f"{path}: line {number}", hint=hint)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def candidates(
    scores: PairScores, count: int, forbidden: torch.Tensor | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each row its number, and the columns and scores of its best candidates, best first.

    Args:
        scores: Of all pairs.
        count: Candidates of a row, where so many are allowed.
        forbidden: Bool `(n, m)`, pairs that are none; or None.
    """
    n, m = scores.shape
    step = max(1, BLOCK // m)
    for begin in range(0, n, step):
        rows = torch.arange(begin, min(begin + step, n))
        block = scores.block(rows, 0, m).double()
        if forbidden is not None:
            block = block.masked_fill(forbidden[rows], -torch.inf)
        top = block.topk(min(count, m), dim=1)
        for row, values, columns in zip(rows.tolist(), top.values.numpy(), top.indices.numpy(), strict=True):
            kept = np.isfinite(values)
            yield row, columns[kept], values[kept]
