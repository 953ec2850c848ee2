"""One scan by several processes: each looks for its share of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ..distributed import world_size
from .candidates import Candidates
from .pair_scores import PairScores
from .scan import Scan, block_height, scan_rows

Array = NDArray[Any]


def shared_scan(scores: PairScores, rows: Array, price: Array, k: int, rounding: Array, lists: Candidates) -> Scan:
    """Return the scan of the rows at the prices, on every process; without a process group, the scan of this one."""
    world = world_size()
    if world == 1:
        return scan_rows(scores, rows, price, k, rounding, lists, None)
    # Whole blocks, so that every number is computed as one process would.
    height = block_height(scores)
    blocks = -(-len(rows) // height)
    cuts = [min(blocks * rank // world * height, len(rows)) for rank in range(world + 1)]
    own = slice(cuts[dist.get_rank()], cuts[dist.get_rank() + 1])
    part = scan_rows(scores, rows[own], price, k, rounding[own], lists, None)
    longest = int(np.diff(cuts).max())
    columns, rest, slack = (_gathered(x, longest, cuts) for x in part)
    return Scan(columns, rest, slack)


def _gathered(own: Array, longest: int, cuts: list[int]) -> Array:
    """The parts of all processes, one after the other."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    padded = np.zeros((longest, *own.shape[1:]), own.dtype)
    padded[: len(own)] = own
    sent = torch.from_numpy(padded).to(device)
    slots = [torch.empty_like(sent) for _ in range(len(cuts) - 1)]
    dist.all_gather(slots, sent)
    sizes = np.diff(cuts)
    return np.concatenate([slot[:size].cpu().numpy() for slot, size in zip(slots, sizes, strict=True)])
