"""Problems whose optimum one look at the gains proves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def favourites(gains: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return every row's best column `(B, n)`, and which problems `(B)` that solves.

    Where no two rows prefer the same column, giving each its best is a full matching of the rows, and as no row can
    have more, $\sum_i \max_j S_{ij}$ bounds every matching: it is optimal. For a certificate by the columns of a square
    problem, give the transpose.

    Args:
        gains: `(B, n, m)` with n at most m; where n is larger no problem is solved.
        rows: Bool `(B, n)`, the rows that there are; None for all.
    """
    best = _argmax(gains)
    # Rows that are not there get places of their own, beyond the columns.
    places = (
        best if rows is None else best.where(rows, torch.arange(best.shape[-1], device=best.device) + gains.shape[-1])
    )
    ordered = places.sort(-1).values
    return best, (ordered[:, 1:] != ordered[:, :-1]).all(-1)


def _argmax(gains: Tensor) -> Tensor:
    # numpy's is vectorised over the last dimension, torch's on the CPU is not
    return gains.argmax(-1) if gains.device.type != "cpu" else torch.from_numpy(np.argmax(gains.numpy(), -1))
