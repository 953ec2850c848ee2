"""Seeded choices that depend on names alone: the same on every machine, smaller ones inside larger ones."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def share(items: Sequence[T], fraction: float, *, salt: str, key: Callable[[T], str]) -> tuple[T, ...]:
    """A seeded share of the items, in their order; smaller shares are parts of larger ones.

    Items are ranked by the SHA-256 of salt and key, and the first $\\max(1, \\lceil f n \\rceil)$ are kept.
    So the choice depends on the keys alone: not on order, machine or Python version. $O(n \\log n)$.
    """
    if fraction >= 1 or not items:
        return tuple(items)
    ranked = sorted(items, key=lambda item: rank(salt, key(item)))
    chosen = {key(item) for item in ranked[: count(fraction, len(items))]}
    return tuple(item for item in items if key(item) in chosen)


def stratified(
    items: Sequence[T], fraction: float, *, salt: str, key: Callable[[T], str], stratum: Callable[[T], Hashable]
) -> tuple[T, ...]:
    r"""A seeded share that takes its part of every stratum, in the items' order; smaller shares are in larger ones.

    With $k = \max(1, \lceil f n \rceil)$ items in all, a stratum of $n_s$ items has fewer than one more or less than
    $k\, n_s / n$. The choice depends on keys and strata alone. $O(n \log n)$.

    References:
        The order is that of fair scheduling with windows, earliest deadline first: Baruah, Cohen, Plaxton, Varvel,
        Proportionate Progress, Algorithmica 1996; for one processor, Tijdeman, The chairman assignment problem, 1980.
    """
    if fraction >= 1 or not items:
        return tuple(items)
    groups: dict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[str(stratum(item))].append(item)
    ranked = {name: sorted(group, key=lambda item: rank(salt, key(item))) for name, group in groups.items()}
    order = fair_order({name: len(group) for name, group in groups.items()}, salt)
    taken = dict.fromkeys(groups, 0)
    for name in order[: count(fraction, len(items))]:
        taken[name] += 1
    chosen = {key(item) for name, group in ranked.items() for item in group[: taken[name]]}
    return tuple(item for item in items if key(item) in chosen)


def fair_order(sizes: dict[str, int], salt: str) -> list[str]:
    r"""Names in an order of which every beginning holds each name about in proportion to its size.

    With sizes $n_s$ of sum $n$, the first $k$ hold $s$ between $k n_s / n - 1$ and $k n_s / n + 1$ times, both ends
    excluded. The $j$-th place of $s$ is due from $\lfloor (j-1) n / n_s \rfloor$ until $\lceil j n / n_s \rceil$; of
    those due, the one with the earliest end is next.
    """
    total = sum(sizes.values())
    waiting = [(0, rank(salt, name), name, 1) for name in sizes]
    heapq.heapify(waiting)
    due: list[tuple[int, tuple[bytes, str], str, int]] = []
    order: list[str] = []
    for place in range(total):
        while waiting and waiting[0][0] <= place:
            _, tie, name, turn = heapq.heappop(waiting)
            heapq.heappush(due, (-(-turn * total // sizes[name]), tie, name, turn))
        _, tie, name, turn = heapq.heappop(due)
        order.append(name)
        if turn < sizes[name]:
            heapq.heappush(waiting, (turn * total // sizes[name], tie, name, turn + 1))
    return order


def count(fraction: float, size: int) -> int:
    """Items in a share; at least one."""
    # the tolerance keeps 0.1 * 30 = 3.0000000000000004 from becoming 4
    return max(1, math.ceil(fraction * size - 1e-9))


def rank(salt: str, name: str) -> tuple[bytes, str]:
    """A key to sort by: random over names, the same everywhere."""
    return hashlib.sha256(f"{salt}\n{name}".encode()).digest(), name
