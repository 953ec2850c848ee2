"""How sure a pair is: whether it is the best of its row and column, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from graphalign.solvers.pair_scores import PairScores

BLOCK = 1024, 4096


class Sureness(NamedTuple):
    """Of each pair.

    Args:
        score: its score.
        mutual: whether it has the highest score of its row and of its column.
        margin: its score less the highest other score in its row or column; negative where there is a higher one, NaN
            where there is no other.
        known: whether all scores were examined; if not, `mutual` and `margin` say nothing.
    """

    score: np.ndarray
    mutual: np.ndarray
    margin: np.ndarray
    known: bool = True


def sureness(
    scores: PairScores, rows: np.ndarray, columns: np.ndarray, stop: Callable[[], bool] = lambda: False
) -> Sureness:
    """Return how sure the pairs are, by one look at all scores, block by block.

    Args:
        scores: Of all pairs.
        rows: Rows of the pairs that were made.
        columns: Their columns.
        stop: Asked before each block of rows; True ends the look.
    """
    n, m = scores.shape
    column_of = np.full(n, -1)
    column_of[rows] = columns
    own = torch.full((n,), torch.nan, dtype=scores.dtype)
    row_best, column_best = (torch.full((size,), -torch.inf, dtype=scores.dtype) for size in (n, m))
    for top in range(0, n, BLOCK[0]):
        if stop():
            none = np.full(len(rows), np.nan)
            return Sureness(scores.exact(rows, columns), np.zeros(len(rows), bool), none, known=False)
        part = torch.arange(top, min(top + BLOCK[0], n))
        partner = column_of[top : top + BLOCK[0]]
        for first in range(0, m, BLOCK[1]):
            end = min(first + BLOCK[1], m)
            block = scores.block(part, first, end)
            inside = np.flatnonzero((partner >= first) & (partner < end))
            places = torch.from_numpy(inside), torch.from_numpy(partner[inside] - first)
            own[top + places[0]] = block[places]
            block[places] = -torch.inf
            row_best[top : top + len(part)] = row_best[top : top + len(part)].maximum(block.amax(1))
            column_best[first:end] = column_best[first:end].maximum(block.amax(0))
    score = own.numpy()[rows]
    others = np.maximum(row_best.numpy()[rows], column_best.numpy()[columns])
    with np.errstate(invalid="ignore"):
        margin = np.where(np.isfinite(others), score - others, np.nan)
    return Sureness(score, score >= others, margin)
