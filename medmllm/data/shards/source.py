"""A data set whose training records are shards; what it is validated on is an ordinary file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

from medmllm.data.formats.reading import DataProblem
from medmllm.data.images import decode
from medmllm.data.records import Record, stored_record
from medmllm.data.scans.address import address
from medmllm.data.scans.window import AUTO
from medmllm.data.shards.index import NAME, open_index
from medmllm.data.shards.read import OPENS, damaged, reader
from medmllm.data.source import Source, known, place_of, scan_notes

if TYPE_CHECKING:
    from medmllm.data.shards.order import ShardOrder

LOOKED_AT = 10_000  # records that stand for all where all would take too long


class ShardRecords(Sequence[Record]):
    """The records of all shards, each read when it is requested."""

    def __init__(self, folder: Path) -> None:
        self.listing = open_index(folder)
        self.shards = reader(self.listing)
        for shard in self.listing.shards:
            self.shards.check(shard)

    def __len__(self) -> int:
        return len(self.listing)

    @overload
    def __getitem__(self, number: int) -> Record: ...
    @overload
    def __getitem__(self, number: slice) -> list[Record]: ...
    def __getitem__(self, number: int | slice) -> Record | list[Record]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard, row = self.listing.locate(number)
        try:
            found = self.shards.record(shard, row)
            found.pop(OPENS, None)
            return stored_record(found | {"split": "train", "source": str(number)})
        except (KeyError, TypeError, ValueError) as error:
            why = f"its record is none of ours, {type(error).__name__}: {error}"
            raise damaged(self.listing.folder / shard.file, row, why) from error

    def opens(self, number: int, image: str) -> str:
        """The name under which the bytes of an image of a sample are opened."""
        found = self.shards.record(*self.listing.locate(number))
        names = found.get(OPENS, image)
        return str(names[[found["image"], *found["further"]].index(image)] if isinstance(names, list) else names)

    def image(self, number: int, image: str) -> bytes:
        """The bytes of an image of a sample."""
        shard, row = self.listing.locate(number)
        place = self[number].images.index(image) if self.shards.has_several(shard) else 0
        return self.shards.image(shard, row, place)

    def some(self) -> Iterator[Record]:
        """Records spread evenly over all, enough to know them by."""
        return (self[n] for n in range(0, len(self), -(-len(self) // LOOKED_AT)))

    def order(self, batch_size: int, seed: int) -> ShardOrder:
        """The order to train in."""
        from medmllm.data.shards.order import ShardOrder  # needs torch, which reading a data set does not

        return ShardOrder(self.listing, batch_size, seed)


class ShardSource:
    """Shards for training, another source for the other splits.

    Args:
        folder: what `exgra data shard` wrote or `exgra data index` has indexed.
        held: the source to validate and test on; None where only the shards are read.
        window: how scans are shown; "auto" takes the window that the shards were written for.
    """

    attribution = "the shards' owner states origin and licence"
    problems: tuple[DataProblem, ...] = ()
    left_out: tuple[tuple[str, DataProblem], ...] = ()
    made: tuple[str, ...] = ()

    def __init__(self, folder: Path, held: Source | None, window: str = AUTO) -> None:
        self.folder = folder
        self.train = ShardRecords(folder)
        self.window = self.train.listing.window if window == AUTO else window
        self.splits = ("train", *(split for split in held.splits if split != "train")) if held else ("train",)
        self.warnings, self.seen_again = (held.warnings, held.seen_again) if held else ((), ())
        self.held: Source = held or self

    def records(self, split: str) -> Any:
        return self.train if known(split, self.splits) == "train" else self.held.records(split)

    def place(self, record: Record) -> tuple[str, int]:
        if record.split != "train":
            return self.held.place(record)
        shard, row = self.train.listing.locate(int(record.source))
        return str(self.folder / shard.file), row + 1

    def content(self, record: Record) -> bytes | Path:
        if record.split != "train":
            return self.held.content(record)
        return self.train.image(int(record.source), record.image)

    def image(self, record: Record) -> Image.Image:
        if record.split != "train":
            return self.held.image(record)
        where, name = place_of(self, record), self.opens(record)
        return decode(self.content(record), where=where, name=name, window=self.window)

    def opens(self, record: Record) -> str:
        if record.split != "train":
            return self.held.opens(record)
        # only a series is kept as something else than it was
        series = address(record.image).is_series
        return self.train.opens(int(record.source), record.image) if series else record.image

    @property
    def notes(self) -> tuple[str, ...]:
        own = scan_notes(self, self.train.some())
        return own or (() if self.held is self else self.held.notes)

    def files(self) -> list[dict[str, Any]]:
        content = (self.folder / NAME).read_bytes()
        found = {"path": str(self.folder / NAME), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return [{**found, "rows": {"train": len(self.train)}}, *([] if self.held is self else self.held.files())]
