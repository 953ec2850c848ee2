"""Exact linear assignment around any engine: batches, masks, rectangles and partial matchings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..problem import NodeEdge, Problem, Solution
from .preparation import SHRINK, in_range

Array = NDArray[Any]
SHORT = 64  # columns up to which rows of a matching are copied from a small table of them
#: From gains `(B, n, m)` to 0/1 matrices `(B, n, m)` with $\min(n, m)$ pairs each and the highest total gain.
Engine = Callable[[Array], Array]


class Found(NamedTuple):
    """Result of an engine for gains `(B, n, m)`.

    Args:
        columns: The column of each row `(B, n)`; -1 for rows without one.
        bounds: `(B,)`, upper bound on the total gain of any matching; None from engines without prices.
        totals: `(B,)`, the total gain of each matching, where there are bounds.
    """

    columns: Array
    bounds: Array | None = None
    totals: Array | None = None


#: From finite gains `(B, n, m)`, float32 or float64 and contiguous, and the masks `(B, n)` and `(B, m)` of the real
#: nodes, or None twice, to the matchings of $\min(n, m)$ real pairs and the highest total gain.
ColumnEngine = Callable[[Array, Array | None, Array | None], Found]


def assign(problem: Problem, engine: Engine) -> Tensor:
    """Solve every first-order problem of the batch exactly, in float64 on the CPU.

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
    return assign_columns(problem, cut_out(lambda gains: _columns(engine(gains.astype(np.float64))))).matching


def assign_columns(problem: Problem, engine: ColumnEngine) -> Solution:
    """The same through an engine that names columns; from a device only these come back.

    A partial matching is a full one of the gains $\\max(S_{ia} - u_i - v_a, 0)$ without the pairs that gain nothing:
    any partial matching extends to a full one at no loss.
    """
    scaled = in_range(problem)
    node, partial = problem.scores.node, problem.unmatched is not None
    n, m = node.shape[-2:]
    gains = np.ascontiguousarray(_gains(scaled).numpy()).reshape(-1, n, m)
    masks = _flat(problem.mask1, node, n), _flat(problem.mask2, node, m)
    columns, bounds, totals = engine(gains, *_both(masks, gains))
    if partial:
        gained = np.take_along_axis(gains, np.maximum(columns, 0)[..., None], -1)[..., 0]
        columns = np.where(gained > 0, columns, -1)
    if node.device.type == "cpu":
        everywhere = n <= m and not partial and problem.mask1 is None and problem.mask2 is None
        matching = torch.from_numpy(host_one_hot(columns, m, everywhere).reshape(node.shape)).to(node.dtype)
    else:
        matching = one_hot(torch.from_numpy(columns).reshape(node.shape[:-1]).to(node.device), node)
    if bounds is None or totals is None:
        return Solution(NodeEdge(matching))
    batch = node.shape[:-2]
    objective, bound = torch.from_numpy(totals.reshape(batch)), torch.from_numpy(bounds.reshape(batch))
    if partial or scaled is not problem or node.device.type != "cpu":
        base, unit = _alone(problem), 1.0 if scaled is problem else 2.0**SHRINK
        objective, bound = objective.to(base) * unit + base, bound.to(base) * unit + base
    return Solution(NodeEdge(matching), objective=objective, bound=bound)


def one_hot(columns: Tensor, like: Tensor) -> Tensor:
    """Return the 0/1 matchings `(*b, n, m)` that pair every row with its column `(*b, n)`, or with none where -1."""
    index = columns[..., None]
    return like.new_zeros(like.shape).scatter_(-1, index.clamp_min(0), (index >= 0).to(like.dtype))


def host_one_hot(columns: Array, m: int, everywhere: bool = False) -> Array:
    """Return the same in float32 on the CPU, where indexing by numpy is the quicker way.

    Args:
        columns: `(*b, n)`, -1 for rows without one.
        m: How many columns there are.
        everywhere: Whether every row is known to have one.
    """
    if m <= SHORT:
        return _units(m).take(columns, axis=0)
    flat = columns.ravel()
    matched, places = np.zeros(flat.size * m, np.float32), np.arange(0, flat.size * m, m) + flat
    matched[places if everywhere else places[flat >= 0]] = 1.0
    return matched.reshape(*columns.shape, m)


@cache
def _units(m: int) -> Array:
    """The rows of the identity, and a row of zeros at the end, which -1 means."""
    units: Array = np.eye(m + 1, m, dtype=np.float32)
    return units


def cut_out(engine: Callable[[Array], Array]) -> ColumnEngine:
    """Make an engine out of one that names columns but knows no masks: padded nodes are cut out item by item."""

    def masked(gains: Array, real1: Array | None, real2: Array | None) -> Found:
        """Match the real nodes of each item; padded rows get no column."""
        if real1 is None or real2 is None:
            return Found(engine(gains) if gains.size else np.full(gains.shape[:-1], -1))
        columns = np.full(real1.shape, -1)
        for item, (rows, cols) in enumerate(zip(map(np.flatnonzero, real1), map(np.flatnonzero, real2), strict=True)):
            if len(rows) and len(cols):
                chosen = engine(gains[item][np.ix_(rows, cols)][None])[0]
                columns[item, rows] = np.where(chosen >= 0, cols[chosen], -1)
        return Found(columns)

    return masked


def _both(masks: tuple[Array | None, Array | None], gains: Array) -> tuple[Array | None, Array | None]:
    """Both masks, or none."""
    if masks[0] is None and masks[1] is None:
        return masks
    first, second = (
        np.ones((len(gains), size), bool) if x is None else x for x, size in zip(masks, gains.shape[1:], strict=True)
    )
    return first, second


def _gains(problem: Problem) -> Tensor:
    r"""What a pair gains over leaving both nodes alone, on the CPU; forbidden pairs gain so little that none is made.

    Differences to scores of staying alone are formed in float64, where they are exact enough that no pair changes
    sides. The gain of a forbidden pair is below the lowest of all others by more than a whole matching can win.
    """
    scores = problem.scores.node.detach()
    if problem.unmatched is not None:
        first, second = problem.alone()
        gains = (scores.double() - (first[..., :, None] + second[..., None, :])).clamp_min(0.0)
        return (gains if problem.forbidden is None else torch.where(problem.allowed(), gains, 0.0)).cpu()
    if problem.forbidden is None:
        return scores.cpu()
    allowed, wide = problem.allowed(), scores.double()
    low, high = wide.where(allowed, torch.inf).amin((-2, -1)), wide.where(allowed, -torch.inf).amax((-2, -1))
    spread = torch.where(high > low, high - low, 1 + low.abs())
    worst = torch.where(high >= low, low - (min(scores.shape[-2:]) + 1) * spread, 0.0)
    return torch.where(allowed, wide, worst[..., None, None]).cpu()


def _alone(problem: Problem) -> Tensor:
    """Score of the empty matching, float64 `(*b)`."""
    first, second = problem.alone()
    real1, real2 = problem.real1(), problem.real2()
    return torch.where(real1, first, 0.0).sum(-1) + torch.where(real2, second, 0.0).sum(-1)


def _columns(matched: Array) -> Array:
    columns: Array = np.where(matched.any(-1), matched.argmax(-1), -1)
    return columns


def _flat(mask: Tensor | None, node: Tensor, size: int) -> Array | None:
    """A mask with the batch in one dimension, on the CPU."""
    if mask is None:
        return None
    flat: Array = mask.expand(*node.shape[:-2], size).reshape(-1, size).cpu().contiguous().numpy()
    return flat
