"""Images with questions that have no answer yet: what `exgra predict` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from graphalign.counts import count_of
from medmllm.data.catalog import NAMES
from medmllm.data.config import DataConfig
from medmllm.data.formats import Reading, Use, Wanted, raise_all, read_data
from medmllm.data.formats.registry import holds_data, testing_is_named
from medmllm.data.formats.spellings import IMAGE_TOKEN, without_marks
from medmllm.data.images import decode, is_scan, locate
from medmllm.data.records import Record, each_image
from medmllm.data.scans.window import AUTO
from medmllm.data.shards.index import NAME as INDEX
from medmllm.data.shards.source import ShardSource
from medmllm.data.slicing import Slices
from medmllm.data.source import Source
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.items import check_there

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
        """Name and path of each image that has a file of its own."""
        for record in each_image(records):
            reading = self.readings.get(record.id)
            if reading is None or reading.content is None:
                yield record.image, self.path(record)


@dataclass(frozen=True)
class SourceImages:
    """Images of a data set that training takes by its name or as shards.

    Attributes:
        source: the data set, which shows scans in its window.
        window: that window.
    """

    source: Source
    window: str

    def image(self, record: Record) -> Image.Image:
        """The record's image in RGB."""
        return self.source.image(record)

    def paths(self, records: Sequence[Record]) -> Iterator[tuple[str, Path]]:
        """Name and path of each image that has a file of its own."""
        for record in each_image(records):
            content = self.source.content(record)
            if isinstance(content, Path):
                yield record.image, content


def is_source(path: Path) -> bool:
    """Whether training knows the data by a name, or it is a folder of shards."""
    return str(path) in NAMES or (path / INDEX).is_file()


def read_source(path: Path, split: str | None, language: str, window: str) -> tuple[SourceImages, list[Record]]:
    """The questions of a data set that training takes by its name or as shards, of its test split where none is named.

    Raises:
        ConfigError: it has no such split, or a name that is not prepared.
    """
    source: Source
    if str(path) in NAMES:
        source = open_source(DataConfig(source=str(path), window=window, language=language))
    else:
        source = ShardSource(path, None, window)
    wanted = split or ("test" if "test" in source.splits else source.splits[0])
    if wanted not in (*source.splits, "all"):
        hint = f"one of {', '.join(source.splits)}, or all"
        raise ConfigError(f"no row is of the split {wanted!r}", where=str(path), hint=hint)
    chosen = source.splits if wanted == "all" else (wanted,)
    records = [record for name in chosen for record in source.records(name)]
    if len({record.id for record in records}) < len(records):
        raise DataError("rows of different splits have the same id", where=str(path), hint="choose one with --split")
    return SourceImages(source, window), records


def _place(record: Record) -> str:
    return f"question {record.id}, image {record.image}"


def read_questions(
    path: Path,
    question: str | None,
    *,
    allow_outside: bool = False,
    split: str | None = None,
    language: str = "en",
    on_warning: Callable[[str], None] = lambda line: None,
) -> tuple[FolderImages, list[Record]]:
    """Questions about images, from data files, or one question about an image or all those of a folder.

    Args:
        path: a data file or folder in any of the formats that are trained on, with or without answers; or an image; or
            a folder of images.
        question: asked about each image; needed where there are no questions.
        allow_outside: let image names leave the file's folder.
        split: of the rows, or "all"; without one, testing where the data itself says which rows are for that, else all.
        language: of the rows of a published set that has several, or "all".
        on_warning: called with what was put right, left out or not asked.

    Raises:
        ConfigError: a question is needed, or no row is of the split.
        DataError: nothing is there, or rows that cannot be asked; all problems are reported.
    """
    if path.is_dir() and not holds_data(path):
        names = sorted(
            file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name[0] != "."
        )
        return FolderImages(path), _about_all(path, names, question)
    if path.is_file() and is_picture(path):
        return FolderImages(path.parent), _about_all(path, [path.name], question)
    check_there(path)
    wanted = Wanted(Use.ASK, question or "", allow_outside, language, unnamed="test")
    readings = read_data(path, wanted=wanted)
    raise_all([problem for reading in readings for problem in reading.problems])
    asked = _of_split(path, readings, split)
    for line in (line for reading in readings for line in reading.warnings):
        on_warning(line)
    count, whole = len(asked), sum(len(reading.records) for reading in readings)
    if count < whole:
        on_warning(f"{path}: {count} of {whole} rows are asked, those of {asked[0][0].split}; --split all asks all")
    places = {record.id: reading for record, reading in asked}
    if len(places) < count:
        raise DataError("rows of different splits have the same id", where=str(path), hint="choose one with --split")
    return FolderImages(path, allow_outside, readings=places), [record for record, _ in asked]


def about_images(images: Sequence[str], question: str | None) -> tuple[FolderImages, list[Record]]:
    """One question about several images, named by paths from here; `<image>` in it says where each is.

    Raises:
        ConfigError: there is no question, or it has more or fewer marks than there are images.
    """
    if question is None:
        raise ConfigError("images alone ask nothing", where="--image", hint="--question 'Is there a fracture?'")
    text, letters = without_marks(question)
    if letters and len(letters) != len(images):
        told = f"the question holds {IMAGE_TOKEN} {count_of(len(letters), 'time')}, and there are {len(images)} images"
        raise ConfigError(told, where="--question", hint="write it once for each image, or nowhere")
    marks = tuple((0, letter) for letter in letters) if len(images) > 1 else ()
    record = replace(_asked(images[0], images[0], text), further=tuple(images[1:]), marks=marks)
    return FolderImages(Path.cwd(), allow_outside=True), [record]


def with_slices(images: FolderImages, records: Sequence[Record], slices: Slices) -> list[Record]:
    """The questions with slices in place of the volumes that they name whole, where a run shows these together."""
    if slices.volume == "rows":
        return list(records)
    found: list[Record] = []
    for record in records:
        reading = images.readings.get(record.id) or Reading(images.folder, images.folder, rows={record.id: 1})
        found += slices.apply(reading, record, allow_outside=images.allow_outside)
    return found


def _of_split(path: Path, readings: Sequence[Reading], split: str | None) -> list[tuple[Record, Reading]]:
    """The rows of a split, each with where it was read."""
    rows = [(record, reading) for reading in readings for record in reading.records]
    wanted = split or ("test" if testing_is_named(path, readings) else "all")
    found = [(record, reading) for record, reading in rows if wanted in ("all", record.split)]
    if not found:
        own = ", ".join(dict.fromkeys(record.split for record, _ in rows))
        raise ConfigError(f"no row is of the split {wanted!r}", where=str(path), hint=f"one of {own}, or all")
    return found


def readable(images: FolderImages, records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Sort a folder's files: the questions about images, and the names of the files that are none, each with why.

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


def is_picture(file: Path) -> bool:
    """Whether a file is an image or a scan."""
    return file.suffix.lower() in _PICTURES or is_scan(file.name, file)


def _about_all(path: Path, names: Sequence[str], question: str | None) -> list[Record]:
    if question is None:
        raise ConfigError("images alone ask nothing", where=str(path), hint="--question 'Is there a fracture?'")
    if not names:
        raise DataError("the folder holds no image", where=str(path), hint=f"known are {', '.join(_PICTURES)}, scans")
    return [_asked(name, name, question) for name in names]


def _asked(name: str, image: str, question: str) -> Record:
    return Record(name, image, ((question, ""),), "", "")
