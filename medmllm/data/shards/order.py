"""A shuffled order that needs no state: the samples of any step can be named at any time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from medmllm.data.batches import seed_of, step_generator
from medmllm.data.shards.index import Index

TOGETHER = 16  # shards shuffled into each other


class ShardOrder:
    """Shards in a seeded order, `together` at a time shuffled into each other: a shuffle by buffer.

    Every sample comes once an epoch, and epochs follow without a gap. Sample $k$ of an epoch is found in constant
    memory: the order of the shards, and a permutation of one buffer. So a run continues in the middle of a shard at the
    exact sample, whatever number of processes and workers reads it.
    """

    def __init__(self, index: Index, batch_size: int, seed: int, together: int = TOGETHER) -> None:
        self.index, self.batch_size, self.seed, self.together = index, batch_size, seed, together
        self._shards = lru_cache(maxsize=2)(self._shards_of)
        self._buffer = lru_cache(maxsize=2)(self._buffer_of)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("index", "batch_size", "seed", "together")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def indices(self, step: int) -> list[int]:
        """Sample numbers of optimiser step `step`, from 0."""
        first = step * self.batch_size
        return [self.at(*divmod(n, len(self.index))) for n in range(first, first + self.batch_size)]

    def at(self, epoch: int, position: int) -> int:
        """The sample at a position of an epoch."""
        ends = self._shards(epoch)[1]
        buffer = int(np.searchsorted(ends, position, side="right"))
        samples = self._buffer(epoch, buffer)
        return int(samples[position - (int(ends[buffer]) - len(samples))])

    def _shards_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's order of shards, and up to which position each buffer goes."""
        order = _permutation(len(self.index.shards), seed_of(self.seed, epoch))
        sizes = self.index.sizes[order]
        return order, np.add.reduceat(sizes, np.arange(0, len(sizes), self.together)).cumsum()

    def _buffer_of(self, epoch: int, buffer: int) -> np.ndarray:
        """The samples of a buffer, shuffled; where one buffer holds all, in the order of the same records in files."""
        if len(self.index.shards) <= self.together:
            return torch.randperm(len(self.index), generator=step_generator(self.seed, epoch)).numpy()
        shards = self._shards(epoch)[0][buffer * self.together : (buffer + 1) * self.together]
        ends, sizes = self.index.ends[shards], self.index.sizes[shards]
        samples = np.concatenate([np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)])
        return samples[_permutation(len(samples), seed_of(self.seed, epoch, buffer))]


def _permutation(count: int, seed: int) -> np.ndarray:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
