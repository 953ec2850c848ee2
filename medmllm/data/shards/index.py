"""The index of a folder of shards: one line a shard, so that 25 million samples open at once and in constant memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal, get_args

import numpy as np

from medmllm.data.scans.window import AUTO, window_limits
from medmllm.errors import DataError

NAME = "index.json"
VERSION = 1
MOST = 10**9  # samples of one shard
Layout = Literal["tar", "parquet"]


@dataclass(frozen=True)
class Shard:
    """A unit of reading: a tar file, or a row group `part` of a Parquet file."""

    file: str
    samples: int
    part: int = 0


@dataclass(frozen=True)
class Index:
    """Which shards there are and how many samples each has.

    Attributes:
        window: in which scans were to be shown when the shards were written; "auto" where nothing was said.
    """

    folder: Path
    layout: Layout
    shards: tuple[Shard, ...]
    window: str = AUTO

    @cached_property
    def sizes(self) -> np.ndarray:
        """(shards,) int64 samples of each shard."""
        return np.array([shard.samples for shard in self.shards], dtype=np.int64)

    @cached_property
    def ends(self) -> np.ndarray:
        """(shards,) int64 number of samples up to the end of each shard."""
        return self.sizes.cumsum()

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.shards else 0

    def locate(self, number: int) -> tuple[Shard, int]:
        """The shard of a sample, and its row there."""
        place = int(np.searchsorted(self.ends, number, side="right"))
        return self.shards[place], number - int(self.ends[place] - self.sizes[place])

    def save(self) -> None:
        """Write `index.json` beside the shards."""
        lines = ",\n".join(json.dumps(asdict(shard)) for shard in self.shards)
        head = {"version": VERSION, "layout": self.layout, "samples": len(self), "window": self.window}
        text = f'{json.dumps(head)[:-1]}, "shards": [\n{lines}\n]}}\n'
        (self.folder / NAME).write_text(text, encoding="utf-8")


def open_index(folder: Path) -> Index:
    """Read `index.json`; the shards themselves are opened when samples are requested.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / NAME
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']}")
        if found["layout"] not in get_args(Layout):
            raise ValueError(f"layout {found['layout']!r:.40}")
        shards = tuple(Shard(**shard) for shard in found["shards"])
        _check(shards, found["samples"])
        window = found.get("window", AUTO)
        _check_window(window)
        return Index(folder, found["layout"], shards, window)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"the index of the shards cannot be read ({error})",
            where=str(path),
            hint="exgra data shard, or exgra data index, writes it",
        ) from error


def _check_window(window: object) -> None:
    """Raise ValueError for a window in which nothing can be shown."""
    if not isinstance(window, str):
        raise ValueError(f"its window is {window!r:.40}")
    try:
        window_limits(window)
    except ValueError as error:
        raise ValueError(f"its window {error}") from None


def _check(shards: Sequence[Shard], samples: object) -> None:
    """Raise ValueError for entries that cannot be: files outside the folder, or numbers that do not add up."""
    for shard in shards:
        whole = all(type(number) is int and number >= 0 for number in (shard.samples, shard.part))
        if not isinstance(shard.file, str) or PurePath(shard.file).name != shard.file or "\\" in shard.file:
            raise ValueError(f"it names a file outside its folder, {shard.file!r:.200}")
        if not whole or not 1 <= shard.samples <= MOST:
            raise ValueError(f"it gives {shard.file} {shard.samples!r:.40} samples")
    if len({(shard.file, shard.part) for shard in shards}) < len(shards):
        raise ValueError("it names a shard twice")
    if samples != sum(shard.samples for shard in shards):
        raise ValueError(f"its shards do not add up to {samples!r:.40} samples")
