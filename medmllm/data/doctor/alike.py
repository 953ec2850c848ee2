r"""Images that show the same thing though their files differ: stored again, scaled, or slightly changed.

Two thumbnails of 16 x 16 are alike if their mean absolute difference is at most 3.5 of 255 and their correlation at
least 0.99. Candidates come from random hyperplanes (Charikar, 2002): thumbnails that lie on the same sides of 24 planes
through their common mean share a key; ten sets of planes are drawn, by a fixed seed. For a correlation of 0.999 a
pair is missed with a probability below $10^{-5}$. About $O(n)$ for images that differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

DIFFERENCE, CORRELATION = 3.5, 0.99
_FLAT = 1.0  # standard deviation below which there is nothing to compare
_TABLES, _PLANES = 10, 24
_LEADERS = 256  # images of one key that later ones are compared with
Vectors = NDArray[np.float32]


def alike(thumbnails: Sequence[bytes]) -> list[list[int]]:
    """Groups of images that show the same thing, as ascending numbers; flat images are in none.

    Args:
        thumbnails: grey pictures of one size, row by row.
    """
    if len(thumbnails) < 2:
        return []
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), -1).astype(np.float32)
    busy = np.flatnonzero(pixels.std(1) >= _FLAT)
    if len(busy) < 2:
        return []
    pixels = pixels[busy]
    parents = np.arange(len(busy))
    for bucket in _buckets(pixels):
        for first, second in _pairs(pixels, bucket):
            _join(parents, first, second)
    groups: dict[int, list[int]] = {}
    for number in range(len(busy)):
        groups.setdefault(_root(parents, number), []).append(int(busy[number]))
    return [group for group in groups.values() if len(group) > 1]


def _buckets(pixels: Vectors) -> Iterator[NDArray[np.int64]]:
    """Numbers of the images that share a key, ascending."""
    centred = pixels - pixels.mean(0)
    draw = np.random.Generator(np.random.PCG64(0))
    weights = (1 << np.arange(_PLANES)).astype(np.float64)
    for _ in range(_TABLES):
        planes = draw.choice(np.array([-1.0, 1.0], np.float32), size=(pixels.shape[1], _PLANES))
        keys = ((centred @ planes) > 0) @ weights
        order = np.argsort(keys, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order))
        starts = np.append(0, ends[:-1])
        shared = ends - starts > 1  # most keys are of one image alone
        for start, end in zip(starts[shared].tolist(), ends[shared].tolist(), strict=True):
            yield order[start:end]


def _pairs(pixels: Vectors, bucket: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Each image of a bucket with the first that it is alike; those alike none are compared with later ones."""
    leaders: list[int] = []
    for number in bucket.tolist():
        near = _near(pixels[leaders], pixels[number]).tolist() if leaders else []
        if True in near:
            yield leaders[near.index(True)], number
        elif len(leaders) < _LEADERS:
            leaders.append(number)


def _near(several: Vectors, one: NDArray[np.float32]) -> NDArray[np.bool_]:
    close = np.abs(several - one).mean(1) <= DIFFERENCE
    if not close.any():
        return close
    a, b = several - several.mean(1, keepdims=True), one - one.mean()
    correlation = (a @ b) / np.sqrt((a * a).sum(1) * (b @ b))
    near: NDArray[np.bool_] = close & (correlation >= CORRELATION)
    return near


def _root(parents: NDArray[np.int64], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = int(parents[number])
    return number


def _join(parents: NDArray[np.int64], first: int, second: int) -> None:
    one, other = sorted((_root(parents, first), _root(parents, second)))
    parents[other] = one
