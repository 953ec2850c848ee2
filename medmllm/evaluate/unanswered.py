"""Images with questions that have no answer yet: what `exgra predict` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from medmllm.data.formats import Reading, Use, Wanted, raise_all, read_data
from medmllm.data.formats.registry import holds_data
from medmllm.data.images import decode, is_scan, locate
from medmllm.data.records import Record
from medmllm.data.scans.window import AUTO
from medmllm.errors import ConfigError, DataError

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class FolderImages:
    """Images of a folder, which no name may leave unless it is allowed; or of files that hold their images.

    Attributes:
        folder: what names are relative to.
        allow_outside: let names leave the folder.
        window: how DICOM and NIfTI are shown.
        readings: where each record was read, by its id; for records of data files.
    """

    folder: Path
    allow_outside: bool = False
    window: str = AUTO
    readings: dict[str, Reading] = field(default_factory=dict)

    def image(self, record: Record) -> Image.Image:
        """The record's image in RGB; DICOM and NIfTI in `window`."""
        return decode(self.content(record), where=_place(record), name=record.image, window=self.window)

    def content(self, record: Record) -> bytes | Path:
        """The file of the record's image, or its bytes."""
        reading = self.readings.get(record.id)
        if reading is not None and reading.content is not None:
            return reading.content(record.image)
        return self.path(record)

    def path(self, record: Record) -> Path:
        """The file of an image that is not stored inside its data file."""
        reading = self.readings.get(record.id)
        try:
            folder = self.folder if reading is None else reading.folder
            return locate(folder, record.image, allow_outside=self.allow_outside)
        except ValueError as cause:
            raise DataError(str(cause), where=_place(record), hint="--allow-outside, if you trust the file") from cause

    def paths(self, records: Sequence[Record]) -> Iterator[tuple[str, Path]]:
        """Name and path of each image that lies in a file of its own."""
        for record in records:
            reading = self.readings.get(record.id)
            if reading is None or reading.content is None:
                yield record.image, self.path(record)


def _place(record: Record) -> str:
    return f"question {record.id}, image {record.image}"


def read_questions(
    path: Path, question: str | None, *, allow_outside: bool = False
) -> tuple[FolderImages, list[Record]]:
    """Questions about images, from data files, or one question about an image or all those of a folder.

    Args:
        path: a data file or folder in any of the formats that are trained on, with or without answers; or an image; or
            a folder of images.
        question: asked about each image; needed where there are no questions.
        allow_outside: let image names leave the file's folder.

    Raises:
        ConfigError: a question is needed.
        DataError: nothing is there, or rows that cannot be asked; all problems are reported.
    """
    if path.is_dir() and not holds_data(path):
        names = sorted(
            file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name[0] != "."
        )
        return FolderImages(path), _about_all(path, names, question)
    if path.is_file() and _is_picture(path):
        return FolderImages(path.parent), _about_all(path, [path.name], question)
    if not path.exists():
        raise DataError("the file does not exist", where=str(path), hint="check the path")
    readings = read_data(path, wanted=Wanted(Use.ASK, question or "", allow_outside))
    raise_all([problem for reading in readings for problem in reading.problems])
    records = [record for reading in readings for record in reading.records]
    places = {record.id: reading for reading in readings for record in reading.records}
    if len(places) < len(records):
        hint = "name one of its files"
        raise DataError("files of the folder number their rows alike", where=str(path), hint=hint)
    return FolderImages(path, allow_outside, readings=places), records


def readable(images: FolderImages, records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Sorts a folder's files: the questions about images, and the names of the files that are none, each with why.

    Every file is opened, as an image may have any ending or none.

    Raises:
        DataError: none of the files is an image.
    """
    found, skipped = [], []
    for record in records:
        try:
            images.image(record)
        except DataError as error:
            skipped.append(f"{record.image}: {error.message}")
        else:
            found.append(record)
    if not found:
        hint = f"known are {', '.join(_PICTURES)}, scans"
        raise DataError("the folder holds no image that can be read", where=str(images.folder), hint=hint)
    return found, skipped


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in _PICTURES or is_scan(file.name, file)


def _about_all(path: Path, names: Sequence[str], question: str | None) -> list[Record]:
    if question is None:
        raise ConfigError("images alone ask nothing", where=str(path), hint="--question 'Is there a fracture?'")
    if not names:
        raise DataError("the folder holds no image", where=str(path), hint=f"known are {', '.join(_PICTURES)}, scans")
    return [_asked(name, name, question) for name in names]


def _asked(name: str, image: str, question: str) -> Record:
    return Record(name, image, ((question, ""),), "", "")
