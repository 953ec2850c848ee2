"""The scan: the best columns of rows at given prices, among all columns, and what all others are worth at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .candidates import Candidates
from .pair_scores import PairScores, unit_of

Array = NDArray[Any]
#: Called with how many rows are done.
Count = Callable[[int], None]
# Rows and columns of a block, which fits into the cache of a processor, and of one on a GPU.
BLOCK, BLOCK_GPU = (512, 2048), (4096, 65536)


class Scan(NamedTuple):
    """Result of a scan of rows.

    Args:
        columns: The best columns of each row that were not listed, `(rows, k)`, in no order; -1 where there are fewer.
        rest: `(rows,)`, the score less price of the last of them as computed: that of every other column is at most
            this, up to `slack`; `-inf` where there is no other.
        slack: `(rows,)`, how far computed scores less prices may be off.
    """

    columns: Array
    rest: Array
    slack: Array


def scan_rows(
    scores: PairScores, rows: Array, price: Array, k: int, rounding: Array, lists: Candidates, count: Count | None
) -> Scan:
    """Look at every column for each of the rows that is not in its list yet.

    Cost: the scores of `rows x m` pairs, and memory for one block of them.

    Args:
        scores: All scores.
        rows: Numbers of rows.
        price: Of each column, float64 `(m,)`.
        k: How many columns to list.
        rounding: How far scores in the blocks may be off, for each of the rows.
        lists: Pairs to leave out.
        count: Called after each block of rows, or None.
    """
    keep = _keep_on_host if scores.device.type == "cpu" else _keep_on_device
    height, width = block_height(scores), (BLOCK if scores.device.type == "cpu" else BLOCK_GPU)[1]
    m = scores.shape[1]
    columns, rest = np.empty((len(rows), k), np.int32), np.empty(len(rows))
    local = torch.from_numpy(price).to(scores.device, scores.dtype)
    cuts = [(first, min(first + width, m)) for first in range(0, m, width)]
    for begin in range(0, len(rows), height):
        part = torch.from_numpy(rows[begin : begin + height]).to(scores.device)
        end = begin + len(part)
        columns[begin:end], rest[begin:end] = keep(scores, part, cuts, local, k, lists)
        if count is not None:
            count(end)
    # A price is rounded, subtracted, and the difference rounded.
    size = float(np.abs(price).max(initial=0.0)) + np.where(np.isfinite(rest), np.abs(rest), 0.0)
    return Scan(columns, rest, rounding + 4 * unit_of(scores.dtype) * size)


def block_height(scores: PairScores) -> int:
    """Return the rows of a block."""
    return (BLOCK if scores.device.type == "cpu" else BLOCK_GPU)[0]


def _keep_on_host(
    scores: PairScores, rows: Tensor, cuts: list[tuple[int, int]], price: Tensor, k: int, lists: Candidates
) -> tuple[Array, Array]:
    try:
        from .bidding import hide, keep_best
    except ImportError:
        return _keep_on_device(scores, rows, cuts, price, k, lists)
    values = torch.full((len(rows), k), -torch.inf, dtype=scores.dtype).numpy()
    columns, lowest = np.full((len(rows), k), -1, np.int32), np.full(len(rows), -np.inf, values.dtype)
    prices = price.numpy()
    for first, end in cuts:
        block = scores.block(rows, first, end).contiguous().numpy()
        if len(lists.keys):
            hide(block, rows.numpy(), first, lists.begin, lists.columns)
        keep_best(block, rows.numpy(), prices[first:end], first, values, columns, lowest)
    return columns, lowest


def _keep_on_device(
    scores: PairScores, rows: Tensor, cuts: list[tuple[int, int]], price: Tensor, k: int, lists: Candidates
) -> tuple[Array, Array]:
    values = torch.full((len(rows), k), -torch.inf, dtype=scores.dtype, device=rows.device)
    columns = torch.full((len(rows), k), -1, device=rows.device)
    for first, end in cuts:
        net = scores.block(rows, first, end) - price[first:end]
        if len(lists.keys):
            row, column = lists.inside(rows.cpu().numpy(), first, end)
            net[torch.from_numpy(row).to(net.device), torch.from_numpy(column).to(net.device)] = -torch.inf
        best, places = net.topk(min(k, end - first), 1, sorted=False)
        best, places = torch.cat([values, best], 1), torch.cat([columns, places + first], 1)
        values, chosen = best.topk(k, 1, sorted=False)
        columns = places.gather(1, chosen)
    columns = columns.masked_fill(values.isneginf(), -1)
    return columns.int().cpu().numpy(), values.amin(1).double().cpu().numpy()
