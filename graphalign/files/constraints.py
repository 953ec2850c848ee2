"""Pairs that a person fixes or forbids, by ids or numbers of rows, and the best candidates of each row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from graphalign.errors import ConfigError, DataError
from graphalign.files.embeddings import Embeddings
from graphalign.files.named_pairs import read_named_pairs, read_numbered_pairs
from graphalign.files.room import check_room
from graphalign.solvers.pair_scores import PairScores

BLOCK = 2**22  # scores that are handled at once


class Constraints(NamedTuple):
    """Pairs of numbers of rows, int64 `(k, 2)`, and the files of both; None where there are none."""

    seeds: np.ndarray | None = None
    forbidden: np.ndarray | None = None
    files: tuple[Path | None, Path | None] = (None, None)

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
    if path.suffix.lower() == ".npy":
        pairs = read_numbered_pairs(path, [(-1, 2)], "whole numbers (pairs, 2)")
    else:
        named = [pair[:2] for pair in read_named_pairs(path, first, second)]
        pairs = np.array(named, dtype=np.int64).reshape(-1, 2)
    outside = (pairs < 0).any(1) | (pairs[:, 0] >= len(first.x)) | (pairs[:, 1] >= len(second.x))
    if outside.any():
        say = f"the pair {tuple(pairs[outside][0].tolist())}, and there are {len(first.x)} and {len(second.x)} rows"
        raise DataError(say, where=str(path), hint="numbers of rows start at 0")
    return pairs


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
