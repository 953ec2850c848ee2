"""Seeded choices that depend on names alone: the same on every machine, smaller ones inside larger ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def share(items: Sequence[T], fraction: float, *, salt: str, key: Callable[[T], str]) -> tuple[T, ...]:
    """A seeded share of the items, in their order; smaller shares lie inside larger ones.

    Items are ranked by the SHA-256 of salt and key, and the first $\\max(1, \\lceil f n \\rceil)$ are kept.
    So the choice depends on the keys alone: not on order, machine or Python version. $O(n \\log n)$.
    """
    if fraction >= 1 or not items:
        return tuple(items)

    def rank(item: T) -> tuple[bytes, str]:
        return hashlib.sha256(f"{salt}\n{key(item)}".encode()).digest(), key(item)

    # the tolerance keeps 0.1 * 30 = 3.0000000000000004 from becoming 4
    count = max(1, math.ceil(fraction * len(items) - 1e-9))
    chosen = {key(item) for item in sorted(items, key=rank)[:count]}
    return tuple(item for item in items if key(item) in chosen)
