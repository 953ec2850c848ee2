"""Slices of the volumes that rows name whole: each a row of its own, or all of them images of one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from graphalign.counts import count_of
from medmllm.data.formats import Reading
from medmllm.data.images import kind_in, locate
from medmllm.data.pictures import count_pages
from medmllm.data.records import Record
from medmllm.data.scans.address import address
from medmllm.errors import DataError


@dataclass(frozen=True)
class Slices:
    """Which slices of a volume are shown, and how.

    Attributes:
        chosen: so many, evenly spaced, or those of these numbers, from 0.
        volume: "rows", each slice asked about by itself; "sample", all of them images of one row.
        positions: whether the place of each slice is written into the question.
    """

    chosen: int | tuple[int, ...] = 1
    volume: Literal["rows", "sample"] = "rows"
    positions: bool = False

    def apply(self, reading: Reading, record: Record, *, allow_outside: bool) -> Iterator[Record]:
        """The record with slices in place of its whole volumes; as it is where it names none.

        Raises:
            DataError: a volume does not have a slice that is named, or a row of several images is to be cut into rows.
        """
        names = [self._names(reading, record, image, allow_outside) for image in record.images]
        if names == [[image] for image in record.images]:
            yield record
        elif self.volume == "sample":
            yield self._together(record, names)
        elif len(names) > 1:
            hint = "data.volume=sample shows the slices of all of them"
            told = f"the row has {len(names)} images, so its volumes cannot be rows of their own"
            raise DataError(told, where=f"{reading.path}: row {reading.rows[record.id]}", hint=hint)
        else:
            yield from self._apart(reading, record, names[0])

    def _names(self, reading: Reading, record: Record, image: str, allow_outside: bool) -> list[str]:
        """The names of the slices of a whole volume, or of its pages; of anything else its own name."""
        found = address(image)
        if self.chosen == 1 or found.index is not None:
            return [image]
        count, plane = _depth(reading, image, allow_outside)
        if isinstance(self.chosen, int):
            places = (round((n + 0.5) * count / self.chosen - 0.5) for n in range(self.chosen))
            numbers = sorted(set(places)) if count else []
        else:
            numbers = list(self.chosen) if count else []
            if numbers and not 0 <= min(numbers) <= max(numbers) < count:
                slices = count_of(count, "slice")
                told = f"{image} has {slices}, from 0 to {count - 1}, and data.slices names {max(numbers)}"
                raise DataError(told, where=f"{reading.path}: row {reading.rows[record.id]}", hint="name others")
        return [replace(found, plane=plane, index=index).name for index in numbers] or [image]

    def _apart(self, reading: Reading, record: Record, names: list[str]) -> Iterator[Record]:
        for number, name in enumerate(names, start=1):
            found = address(name)
            identity = f"{record.id}-{found.plane}-{found.index}"
            reading.rows[identity] = reading.rows[record.id]
            own = replace(record, id=identity, image=name)
            if self.positions:
                (question, answer), *later = record.turns
                turns = ((f"Slice {number} of {len(names)}. {question}", answer), *later)
                own = replace(own, turns=turns, image_place=0)
            yield own

    def _together(self, record: Record, names: list[list[str]]) -> Record:
        """One record with all slices, each volume's where the volume was."""
        turns, marks = [list(turn) for turn in record.turns], list[tuple[int, int]]()
        inserted = dict.fromkeys(range(len(turns)), 0)
        for (turn, letter), found in zip(record.places, names, strict=True):
            for number in range(1, len(found) + 1):
                place, text = letter + inserted[turn], turns[turn][0]
                label = f"Slice {number} of {len(found)}: " if self.positions and len(found) > 1 else ""
                turns[turn][0] = text[:place] + label + ("\n" if label else "") + text[place:]
                marks.append((turn, place + len(label)))
                inserted[turn] += len(label) + bool(label)
        images = [name for found in names for name in found]
        told = tuple((question, answer) for question, answer in turns)
        plain = not self.positions and not record.marks
        places = () if plain else tuple(marks)
        return replace(record, image=images[0], further=tuple(images[1:]), turns=told, marks=places, image_place=0)


def _depth(reading: Reading, image: str, allow_outside: bool) -> tuple[int, str]:
    """How many slices a volume has, or pages a picture, and which they are.

    None where there is one picture, or it cannot be read, which is reported when it is opened.
    """
    from medmllm.data.scans.render import depth

    try:
        path = locate(reading.folder, image, allow_outside=allow_outside)
        data, found = reading.content(image) if reading.content else path, address(image)
        kind = kind_in(data, image)
        if kind:
            return depth(data, found, kind), found.plane
        pages = count_pages(data)
        return (pages, "page") if pages > 1 else (0, "")
    except Exception:  # whatever is wrong with it
        return 0, ""
