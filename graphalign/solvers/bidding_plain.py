"""What `bidding` does, without numba: all waiting nodes bid at once, in whole arrays; paths are searched in Python.

Slower by a factor of ten and more. The optimum is the same; of several optimal matchings it may find another one.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sides import Sides

Array = NDArray[Any]


def bid(sides: Sides, queue: Array, waiting: int, eps: float, limit: int) -> int:
    """As `bidding.bid`; of several nodes that want the same one, that with the highest offer gets it."""
    _, other, w, alone, own, price, mate, mate_other = sides
    asking = queue[:waiting].copy()
    while len(asking) and limit > 0:
        limit -= len(asking)
        best, second, chosen = _two_best(sides, asking)
        content = best <= alone[asking] + eps
        own[asking[content]], mate[asking[content]] = alone[asking[content]], -1
        asking, second, chosen = asking[~content], second[~content], chosen[~content]
        own[asking] = np.maximum(alone[asking], second - eps)
        wanted, offer = other[chosen], w[chosen] - own[asking]
        order = np.lexsort((asking, -offer, wanted))
        first = np.ones(len(order), bool)
        first[1:] = wanted[order][1:] != wanted[order][:-1]
        winner, lost = order[first], order[~first]
        b = wanted[winner]
        loser = mate_other[b]
        loser = loser[loser >= 0]
        mate[loser] = -1
        price[b], mate_other[b], mate[asking[winner]] = offer[winner], asking[winner], b
        asking = np.concatenate([asking[lost], loser])
    queue[: len(asking)] = asking
    return len(asking)


def discontent(sides: Sides, eps: float, queue: Array) -> int:
    """As `bidding.discontent`."""
    begin, other, w, alone, own, price, mate, mate_other = sides
    nodes = np.arange(len(own))
    best = np.maximum(_two_best(sides, nodes)[0], alone)
    value, owner = w - price[other], np.repeat(nodes, np.diff(begin))
    mine = mate[owner] == other
    own[:] = alone
    own[owner[mine]] = value[mine]
    unhappy = np.flatnonzero(best > own + eps)
    own[unhappy] = best[unhappy]
    held = mate[unhappy]
    mate_other[held[held >= 0]], mate[unhappy] = -1, -1
    queue[: len(unhappy)] = unhappy
    return len(unhappy)


def _two_best(sides: Sides, asking: Array) -> tuple[Array, Array, Array]:
    """The two highest scores less prices in each list, and the place of the first; -1 where there is none."""
    begin, other, w, price = sides.begin, sides.other, sides.w, sides.price
    count = begin[asking + 1] - begin[asking]
    best, second, chosen = np.full(len(asking), -np.inf), np.full(len(asking), -np.inf), np.full(len(asking), -1)
    filled = count > 0
    if filled.any():
        size = count[filled]
        start = np.cumsum(size) - size
        places = np.repeat(begin[asking[filled]] - start, size) + np.arange(size.sum())
        value = w[places] - price[other[places]]
        best[filled] = np.maximum.reduceat(value, start)
        at_top = value == np.repeat(best[filled], size)
        top = np.minimum.reduceat(np.where(at_top, np.arange(len(value)), len(value)), start)
        chosen[filled], value[top] = places[top], -np.inf
        second[filled] = np.maximum.reduceat(value, start)
    return best, second, chosen


def settle_rows(sides: Sides, starts: Array) -> int:
    """As `bidding.settle_rows`."""
    start: int
    for start in starts.tolist():
        if sides.mate[start] < 0 and sides.own[start] > sides.alone[start] and not _augment(sides, start):
            return start
    return -1


def _augment(sides: Sides, start: int) -> bool:
    """Find a shortest path and exchange the pairs along it; say whether there is one."""
    begin, other, w, alone, own, price, _, mate_other = sides
    nearest, end, last = float(own[start] - alone[start]), -1, start
    distance: dict[int, float] = {}
    parent: dict[int, int] = {}
    passed, heap = list[tuple[int, int, float]](), list[tuple[float, int]]()
    done: set[int] = set()
    a, base = start, 0.0
    while True:
        part = slice(begin[a], begin[a + 1])
        reached = base + np.maximum(own[a] + price[other[part]] - w[part], 0.0)
        for b, through in zip(other[part].tolist(), reached.tolist(), strict=True):
            if b not in done and through < min(nearest, distance.get(b, np.inf)):
                distance[b], parent[b] = through, a
                heapq.heappush(heap, (through, b))
        while heap and heap[0][1] in done:
            heapq.heappop(heap)
        if not heap or heap[0][0] >= nearest:
            break
        base, b = heapq.heappop(heap)
        done.add(b)
        a = int(mate_other[b])
        if a < 0:
            nearest, end = base, b
            break
        passed.append((a, b, base))
        if base + own[a] - alone[a] < nearest:
            nearest, last = float(base + own[a] - alone[a]), a
    if nearest == np.inf:
        return False
    own[start] -= nearest
    for a, b, at in passed:
        own[a] -= nearest - at
        price[b] += nearest - at
    _join(sides, start, end, last, parent)
    return True


def _join(sides: Sides, start: int, end: int, last: int, parent: dict[int, int]) -> None:
    """As `bidding.join`."""
    mate, mate_other = sides.mate, sides.mate_other
    b = end
    if end < 0:
        b, mate[last] = int(mate[last]), -1
        if last == start:
            return
    while True:
        a = parent[b]
        following = int(mate[a])
        mate[a], mate_other[b] = b, a
        if a == start:
            return
        b = following
