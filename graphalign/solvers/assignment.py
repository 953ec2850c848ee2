"""Exact linear assignment around any engine: batches, masks, rectangles and partial matchings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..problem import Problem
from .preparation import in_range

Array = NDArray[Any]
#: From gains `(B, n, m)` to 0/1 matrices `(B, n, m)` with $\min(n, m)$ pairs each and the highest total gain.
Engine = Callable[[Array], Array]
#: From finite gains `(B, n, m)`, float32 or float64 and contiguous, and the masks `(B, n)` and `(B, m)` of the real
#: nodes, or None twice, to the column of each row `(B, n)` in such a matching; -1 for rows without one.
ColumnEngine = Callable[[Array, Array | None, Array | None], Array]


def assign(problem: Problem, engine: Engine) -> Tensor:
    """Solves every first-order problem of the batch exactly, in float64 on the CPU.

    Padded nodes are cut out item by item, so the engine never sees them; without masks the batch goes in as a whole.

    Args:
        problem: As `prepare_problem` returns it.
        engine: From gains `(B, n, m)` in float64 to 0/1 matrices with $\\min(n, m)$ pairs each.

    Returns:
        The matchings `(*b, n, m)` in the dtype and on the device of the scores.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem
        >>> def first_come(gains):  # every row takes the column of its own number
        ...     return np.broadcast_to(np.eye(*gains.shape[1:]), gains.shape)
        >>> assign(Problem(NodeEdge(torch.tensor([[0.2, 0.5], [0.7, 0.0]])), unmatched=0.05), first_come)
        tensor([[1., 0.],
                [0., 0.]])
    """
    return assign_columns(problem, cut_out(lambda gains: _columns(engine(gains.astype(np.float64)))))


def assign_columns(problem: Problem, engine: ColumnEngine) -> Tensor:
    """The same through an engine that names columns; from a device only these come back."""
    problem = in_range(problem)
    node = problem.scores.node
    n, m = node.shape[-2:]
    gains = np.ascontiguousarray(_gains(node.detach().cpu(), problem.unmatched).numpy()).reshape(-1, n, m)
    masks = _flat(problem.mask1, node, n), _flat(problem.mask2, node, m)
    columns = _solve(gains, *masks, problem.unmatched is not None, engine)
    if node.device.type == "cpu":
        return torch.from_numpy(host_one_hot(columns, m).reshape(node.shape)).to(node.dtype)
    return one_hot(torch.from_numpy(columns).reshape(node.shape[:-1]).to(node.device), node)


def one_hot(columns: Tensor, like: Tensor) -> Tensor:
    """Returns the 0/1 matchings `(*b, n, m)` that pair every row with its column `(*b, n)`, or with none where -1."""
    index = columns[..., None]
    return like.new_zeros(like.shape).scatter_(-1, index.clamp_min(0), (index >= 0).to(like.dtype))


def host_one_hot(columns: Array, m: int) -> Array:
    """Returns the same in float32 on the CPU, where indexing by numpy is the quicker way."""
    flat = columns.ravel()
    matched, places = np.zeros(flat.size * m, np.float32), np.arange(0, flat.size * m, m) + flat
    matched[places if flat.size == 0 or flat.min() >= 0 else places[flat >= 0]] = 1.0
    return matched.reshape(*columns.shape, m)


def cut_out(engine: Callable[[Array], Array]) -> ColumnEngine:
    """Makes an engine out of one that names columns but knows no masks: padded nodes are cut out item by item."""

    def masked(gains: Array, real1: Array | None, real2: Array | None) -> Array:
        if real1 is None or real2 is None:
            return engine(gains) if gains.size else np.full(gains.shape[:-1], -1)
        columns = np.full(real1.shape, -1)
        for item, (rows, cols) in enumerate(zip(map(np.flatnonzero, real1), map(np.flatnonzero, real2), strict=True)):
            if len(rows) and len(cols):
                chosen = engine(gains[item][np.ix_(rows, cols)][None])[0]
                columns[item, rows] = np.where(chosen >= 0, cols[chosen], -1)
        return columns

    return masked


def _solve(gains: Array, real1: Array | None, real2: Array | None, partial: bool, engine: ColumnEngine) -> Array:
    """The columns of the best matching; if `partial`, without the pairs that gain nothing."""
    if real1 is None and real2 is not None:
        real1 = np.ones(gains.shape[:2], bool)
    if real2 is None and real1 is not None:
        real2 = np.ones((len(gains), gains.shape[2]), bool)
    columns = engine(gains, real1, real2)
    if partial:
        gained = np.take_along_axis(gains, np.maximum(columns, 0)[..., None], -1)[..., 0]
        columns = np.where(gained > 0, columns, -1)
    return columns


def _gains(scores: Tensor, unmatched: float | None) -> Tensor:
    r"""Returns what a pair gains over leaving both nodes alone.

    A partial matching is a full one of the gains $\max(S - 2u, 0)$ of which the pairs that gain nothing are dropped:
    any partial matching extends to a full one at no loss. They are formed in float64, where the difference is exact
    enough that no pair changes sides.
    """
    return scores if unmatched is None else (scores.double() - 2 * unmatched).clamp_min(0.0)


def _columns(matched: Array) -> Array:
    columns: Array = np.where(matched.any(-1), matched.argmax(-1), -1)
    return columns


def _flat(mask: Tensor | None, node: Tensor, size: int) -> Array | None:
    """A mask with the batch in one dimension, on the CPU."""
    if mask is None:
        return None
    flat: Array = mask.expand(*node.shape[:-2], size).reshape(-1, size).cpu().contiguous().numpy()
    return flat
