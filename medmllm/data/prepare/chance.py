"""Random choices that depend on a key alone: not on order, Python version or numpy version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


def fraction(*key: object) -> float:
    """A number in [0, 1), uniform over keys."""
    digest = sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def pick(options: Sequence[T], *key: object) -> T:
    """One of `options`, uniform over keys."""
    return options[int(fraction(*key) * len(options))]


def shuffled(items: Iterable[T], *key: object) -> list[T]:
    """The items in an order that the key decides (their place in `items` breaks no tie but equal draws)."""
    numbered = list(enumerate(items))
    return [item for _, item in sorted(numbered, key=lambda pair: (fraction(*key, pair[0]), pair[0]))]
