"""Data sets in archives: the one inside the package, and the large one that is made from the same originals."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from medmllm.data.formats.reading import SPLITS, DataProblem
from medmllm.data.images import decode
from medmllm.data.records import Record, stored_record
from medmllm.data.source import file_entry, known, place_of, train_share
from medmllm.errors import DataError

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
SLICES_FOLDER = EMBEDDED_FOLDER / "slices"
_LARGEST = 2**29  # bytes of a member; the rows of the large data set take less than a tenth
_REINSTALL = "the package is damaged; install it again"


class EmbeddedSource:
    """The data set that ships inside the package: one zip archive a split, read in place.

    Archives are opened when first needed, and again in every process, since a forked file position is shared.

    Args:
        folder: holds `<split>.zip` with `records.jsonl` and the images.
        fraction: share of the training records.
        pictures: another folder, whose archives hold the images.
    """

    warnings: tuple[str, ...] = ()
    problems: tuple[DataProblem, ...] = ()
    left_out: tuple[tuple[str, DataProblem], ...] = ()
    made: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    window = "auto"
    seen_again = ("validation", "test_slab")  # other slabs of the training volumes

    def __init__(self, folder: Path = EMBEDDED_FOLDER, *, fraction: float = 1.0, pictures: Path | None = None) -> None:
        found = {path.stem for path in folder.glob("*.zip")}
        if not found:
            raise DataError("the embedded data set is missing", where=str(folder), hint=_REINSTALL)
        self.folder, self.fraction, self.pictures = folder, fraction, pictures or folder
        self.splits = (*(name for name in SPLITS if name in found), *sorted(found.difference(SPLITS)))
        self.attribution = f"{self.pictures.name}/ATTRIBUTION.md"
        self._archives: dict[tuple[int, Path], zipfile.ZipFile] = {}
        self._records: dict[str, tuple[Record, ...]] = {}
        self._rows: dict[tuple[str, str], int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archives": {}}  # open archives do not travel to another process

    def records(self, split: str) -> tuple[Record, ...]:
        if split not in self._records:
            rows = self._read_rows(known(split, self.splits))
            self._rows |= {(split, record.id): number for number, record in enumerate(rows, start=1)}
            self._records[split] = train_share(rows, self.fraction) if split == "train" else rows
        return self._records[split]

    def place(self, record: Record) -> tuple[str, int]:
        self.records(record.split)
        return self._name(record.split), self._rows[record.split, record.id]

    def content(self, record: Record) -> bytes:
        return self._member(self.pictures, record.split, record.image, place_of(self, record))

    def image(self, record: Record) -> Image.Image:
        return decode(self.content(record), where=place_of(self, record))

    def opens(self, record: Record) -> str:
        return record.image

    def files(self) -> list[dict[str, Any]]:
        names = {split: self._name(split) for split in self.splits}
        rows = [file_entry(self.folder.parent / name, name, {s: len(self.records(s))}) for s, name in names.items()]
        if self.pictures == self.folder:
            return rows
        archives = [(self.pictures / f"{split}.zip", f"{self.pictures.name}/{split}.zip") for split in self.splits]
        return [*rows, *(file_entry(path, name, {}) for path, name in archives)]

    def _name(self, split: str) -> str:
        return f"{self.folder.name}/{split}.zip"

    def _read_rows(self, split: str) -> tuple[Record, ...]:
        where = f"{self._name(split)}: records.jsonl"
        content = self._member(self.folder, split, "records.jsonl", where)
        try:
            return tuple(stored_record(json.loads(line)) for line in content.split(b"\n") if line.strip())
        except (ValueError, TypeError, KeyError) as cause:
            raise DataError(f"the records cannot be read ({cause})", where=where, hint=_REINSTALL) from cause

    def _member(self, folder: Path, split: str, name: str, where: str) -> bytes:
        try:
            archive = self._archive(folder / f"{split}.zip")
            if archive.getinfo(name).file_size > _LARGEST:
                raise zipfile.BadZipFile(f"{name} would unpack to more than {_LARGEST:,} bytes")
            return archive.read(name)
        except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as cause:
            raise DataError(f"the archive cannot be read ({cause})", where=where, hint=_REINSTALL) from cause

    def _archive(self, path: Path) -> zipfile.ZipFile:
        key = os.getpid(), path
        if key not in self._archives:
            self._archives[key] = zipfile.ZipFile(path)
        return self._archives[key]
