"""Exact linear assignment around any engine: batches, masks, rectangles and partial matchings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..problem import Problem
from .prepare import items

Array = NDArray[np.float64]
#: From gains `(B, n, m)` to 0/1 matrices `(B, n, m)` with $\min(n, m)$ pairs each and the highest total gain.
Engine = Callable[[Array], Array]


def assign(problem: Problem, engine: Engine) -> Tensor:
    """Solves every first-order problem of the batch exactly, in float64 on the CPU.

    Padded nodes are cut out item by item, so the engine never sees them; without masks the batch goes in as a whole.

    Returns:
        The matchings `(*b, n, m)` in the dtype and on the device of the scores.
    """
    node = problem.scores.node
    scores, real1, real2 = items(problem)
    gains: Array = scores.detach().cpu().double().numpy()
    if problem.mask1 is None and problem.mask2 is None:
        matched = maximise(gains, problem.unmatched, engine)
    else:
        matched = np.zeros_like(gains)
        for item, rows, cols in zip(range(len(gains)), real1.cpu().numpy(), real2.cpu().numpy(), strict=True):
            inner = np.ix_(np.flatnonzero(rows), np.flatnonzero(cols))
            matched[item][inner] = maximise(gains[item][inner][None], problem.unmatched, engine)[0]
    return torch.from_numpy(matched).to(node).reshape(node.shape)


def maximise(gains: Array, unmatched: float | None, engine: Engine) -> Array:
    r"""Returns the best matchings `(B, n, m)` of real nodes only.

    A partial matching is a full one of the gains $\max(S - 2u, 0)$ of which the pairs that gain nothing are dropped:
    any partial matching extends to a full one at no loss.
    """
    if gains.size == 0:
        return np.zeros_like(gains)
    if unmatched is None:
        return engine(gains)
    gains = np.maximum(gains - 2 * unmatched, 0.0)
    matched: Array = engine(gains) * (gains > 0)
    return matched
