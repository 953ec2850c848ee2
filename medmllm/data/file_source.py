"""Data sets in a user's files, of any format that `medmllm.data.formats` reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from graphalign.counts import count_of
from medmllm.data.formats import Reading, Wanted, read_data
from medmllm.data.images import decode, locate
from medmllm.data.pairs import Accepted
from medmllm.data.people import NOBODY, counted, names_person, one_person_for_shared_images, shared_people
from medmllm.data.records import Record, each_image
from medmllm.data.slicing import Slices
from medmllm.data.source import file_entry, known, place_of, scan_notes, train_share
from medmllm.data.subset import share
from medmllm.errors import DataError

_HELD_OUT = 0.1  # share of the subjects that a data set without a validation split gives up
_TESTED_TWICE = (
    "no row is for validation, and the training rows show one person: the test rows are used for validation too"
)
Splits = dict[str, tuple[Record, ...]]


class FileSource:
    """A data file, or a folder of them.

    Rows that name their split, and files named after it, keep it; of a file that names a validation split, validation
    takes those rows, of any other one all, and testing likewise. A validation file is both "validation" and "test"
    unless there is a test file or split. Where there is neither, a seeded tenth of the subjects (of the images,
    where rows name no subject) is held out and serves as both; no image is on two sides.

    Args:
        path: data file or folder; image paths are relative to its folder.
        validation, test: further files or folders, read the same way.
        images: folder that image names are relative to, where it is not the data file's.
        fraction: share of the training records, taken after the held-out ones have left.
        allow_outside: let image paths leave the folder.
        language: of the rows of a published set that has several.
        window: how DICOM and NIfTI are shown.
        slices: of each volume that a row names whole, how many or which, and how they are shown.
        trained: whether its own training rows are trained on; else they may be in other splits too, and rows of no
            named split are for testing.
        skip_faulty: leave out rows that have a problem.
        accepted: captions of training rows from another file.
        image_columns: columns with the images of a row, where their names do not say it.
        text_only: keep rows that name no image.

    Attributes:
        problems: what is wrong with the rows; the sound rows can still be read.
        left_out: rows that are not used, each with its split and the reason.
        own: splits that the files themselves have.
        made: splits that are made of others.
        held: how many training rows are held out for validation, where no split is for that.
        alone: whether it is one file, and no other one was given to validate or test on.
    """

    attribution = "the file's owner states origin and licence"
    seen_again = ("test_slab",)
    made: tuple[str, ...] = ()
    held: int = 0

    def __init__(
        self,
        path: Path,
        *,
        validation: Path | None = None,
        test: Path | None = None,
        images: Path | None = None,
        fraction: float = 1.0,
        allow_outside: bool = False,
        language: str = "en",
        window: str = "auto",
        slices: int | Slices = 1,
        trained: bool = True,
        skip_faulty: bool = False,
        image_columns: tuple[str, ...] = (),
        text_only: bool = False,
        accepted: Accepted | None = None,
    ) -> None:
        self.path, self.allow_outside, self.window, self.trained = path, allow_outside, window, trained
        wanted = Wanted(
            allow_outside=allow_outside,
            language=language,
            unnamed="train" if trained or validation else "test",
            image_columns=image_columns,
            text_only=text_only,
        )
        given = {"train": path} | {s: p for s, p in (("validation", validation), ("test", test)) if p is not None}
        readings = {role: read_data(place, images=images, wanted=wanted) for role, place in given.items()}
        if skip_faulty:
            for reading in chain.from_iterable(readings.values()):
                reading.leave_out_faults()
        self.alone = len(given) == 1 and path.is_file()
        self._readings: dict[tuple[str, str], Reading] = {}
        found: dict[str, list[Record]] = {}
        for role, several in readings.items():
            own = any(record.split == role for reading in several for record in reading.records)
            for reading in several:
                for record in self._volumes(reading, slices if isinstance(slices, Slices) else Slices(slices)):
                    split = record.split if role == "train" else role
                    if role not in ("train", record.split) and own:
                        continue  # the file says which of its rows are for this
                    self._readings[split, record.id] = reading
                    found.setdefault(split, []).append(
                        record if record.split == split else replace(record, split=split)
                    )
        self.left_out = tuple(
            (reading.split if role == "train" else role, problem)
            for role, several in readings.items()
            for reading in several
            for problem in reading.left_out
        )
        self._all = [reading for several in readings.values() for reading in several]
        parted = self._parted({split: one_person_for_shared_images(rows) for split, rows in found.items()})
        self._accepted = accepted or Accepted()
        parted["train"] = self._accepted.given_to(parted["train"])
        self._records = {split: _captioned(records) for split, records in parted.items()}
        self._records["train"] = train_share(self._records["train"], fraction)
        self.splits = tuple(self._records)
        self.own = tuple(found)
        self.problems = tuple(problem for reading in self._all for problem in reading.problems)
        read = (line for reading in self._all for line in reading.warnings)
        twice = [_TESTED_TWICE] if "test" in found and "validation" not in (*found, *self.made) else []
        lines = (*read, *self._accepted.warnings, *(twice if parted["train"] else []), *self._shared())
        self.warnings = tuple(dict.fromkeys(lines))

    def records(self, split: str) -> tuple[Record, ...]:
        return self._records[known(split, self.splits)]

    def place(self, record: Record) -> tuple[str, int]:
        reading = self._reading(record)
        return str(reading.path), reading.rows[record.id]

    def content(self, record: Record) -> bytes | Path:
        reading = self._reading(record)
        if reading.content is not None:
            return reading.content(record.image)
        try:
            return locate(reading.folder, record.image, allow_outside=self.allow_outside)
        except ValueError as cause:
            hint = "set data.allow_outside=true if you trust the file"
            raise DataError(str(cause), where=place_of(self, record), hint=hint) from cause

    def image(self, record: Record) -> Image.Image:
        where, name = place_of(self, record), record.image
        return decode(self.content(record), where=where, name=name, window=self.window)

    def opens(self, record: Record) -> str:
        return record.image

    @property
    def notes(self) -> tuple[str, ...]:
        return scan_notes(self, (record for records in self._records.values() for record in records))

    def files(self) -> list[dict[str, Any]]:
        entries = []
        for reading in self._all:
            counts = {
                split: sum(self._reading(r) is reading for r in records) for split, records in self._records.items()
            }
            rows = {split: count for split, count in counts.items() if count}
            entries.append(file_entry(reading.path, str(reading.path), rows))
        return entries + [file_entry(path, str(path), {}) for path in self._accepted.files]

    def _reading(self, record: Record) -> Reading:
        return self._readings[record.split, record.id]

    def _volumes(self, reading: Reading, slices: Slices) -> Iterable[Record]:
        """The records, with slices in place of the volumes that rows name whole."""
        if slices.chosen == 1:
            return reading.records
        cut = (slices.apply(reading, record, allow_outside=self.allow_outside) for record in reading.records)
        return chain.from_iterable(cut)

    def _parted(self, found: Splits) -> Splits:
        """Training, validation and test records, and further splits that are there."""
        train, validation, test = (found.get(split, ()) for split in ("train", "validation", "test"))
        if not validation and train:
            held = () if test and len(_subjects(train)) < 2 else self._held_out(train)
            if held:
                self.made = ("validation",) if test else ("validation", "test")
            self.held, validation = len(held), self._as(held, "validation")
            chosen = {record.id for record in held}
            train = tuple(record for record in train if record.id not in chosen)
        validation = validation or self._as(test, "validation")
        test = test or self._as(validation, "test")
        rest = {split: records for split, records in found.items() if split not in ("train", "validation", "test")}
        return {"train": train, "validation": validation, "test": test} | rest

    def _as(self, records: tuple[Record, ...], split: str) -> tuple[Record, ...]:
        """The records in another split's place."""
        self._readings |= {(split, record.id): self._reading(record) for record in records}
        return tuple(replace(record, split=split) for record in records)

    def _held_out(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        subjects = _subjects(records)
        if len(subjects) < 2 and not any(reading.problems for reading in self._all):
            hint = "name a second file with data.validation=FILE"
            shown = "one person" if any(map(names_person, records)) else "the same image"
            message = f"all rows show {shown}, so none can be held out for validation"
            self._all[0].report(None, "", message, hint)
        chosen = set(share(subjects, _HELD_OUT, salt="exgra held-out images", key=str))
        return tuple(record for record in records if _person(record) in chosen)

    def _shared(self) -> list[str]:
        """Items on two sides, where the training rows are trained on, and whether rows name people at all."""
        several = [*shared_people(self._records), *self._shared_images()] if self.trained else []
        unnamed = counted(record for records in self._records.values() for record in records) == "images"
        captions = [*_alike_captions(self._records["train"]), *_missing_captions(self._records)] if self.trained else []
        own = len(self._records["train"])
        told = f"these counts are of {own} training rows; {self.held} more, held out for validation, are not counted"
        held_out = [told] if self.held and [*several, *captions] else []
        return [*([NOBODY] if unnamed else []), *several, *captions, *held_out]

    def _shared_images(self) -> list[str]:
        """Images of the training split that are in another too."""
        sides = [{self._image_key(r) for r in each_image(self._records[s])} for s in ("train", "validation", "test")]
        counts = {split: len(sides[0] & side) for split, side in zip(("validation", "test"), sides[1:], strict=True)}
        if counts["validation"] and sides[1] == sides[2]:
            del counts["test"]
        return [
            f"{count_of(count, 'image is', 'images are')} in both training and {split}"
            for split, count in counts.items()
            if count
        ]

    def _image_key(self, record: Record) -> str:
        reading = self._reading(record)
        return record.image if reading.content else f"{reading.folder}/{record.image}"


def _captioned(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The records of a split; where none has a caption of its own, the answers are the captions of all."""
    if not all(record.caption_missing for record in records):
        return records
    return tuple(replace(record, caption_missing=False) for record in records)


def _missing_captions(splits: Splits) -> list[str]:
    """How many training rows have no caption of their own where others have."""
    missing = sum(record.caption_missing for record in splits["train"])
    told = f"{missing} of {len(splits['train'])} training rows have no caption: they are aligned without that view"
    return [told] if missing else []


def _alike_captions(records: tuple[Record, ...]) -> list[str]:
    """How many rows without captions of their own share their text with another image's."""
    if not records or any(record.caption != record.sentence for record in records):
        return []
    images: dict[str, set[tuple[str, ...]]] = {}
    for record in records:
        images.setdefault(record.caption, set()).add(record.images)
    shared = sum(len(images[record.caption]) > 1 for record in records)
    told = f"no row has a caption of its own, and {shared} of {len(records)} training rows share their answer with "
    told += "another image; the matching takes these for right pairs (`exgra data extend-captions` adds captions)"
    return [told] if shared else []


def _subjects(records: tuple[Record, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_person, records)))


def _person(record: Record) -> str:
    """The record's person; a row of text alone that names nobody is one of its own."""
    return record.person or record.id
