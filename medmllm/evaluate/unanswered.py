"""Images with questions that have no answer yet: what `exgra predict` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from medmllm.data.images import decode, is_scan, locate
from medmllm.data.records import Record
from medmllm.data.scans.window import AUTO
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.rows import Row, first, read_rows, text_of
from medmllm.evaluate.stock import IMAGE

_ID = ("question_id", "id", "qid")
_IMAGE = ("image", "image_path", "file_name", "img_name", "image_name", "path")
_QUESTION = ("question", "prompt", "text")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class FolderImages:
    """Images of a folder, which no name may leave unless it is allowed."""

    folder: Path
    allow_outside: bool = False
    window: str = AUTO

    def image(self, record: Record) -> Image.Image:
        """The record's image in RGB; DICOM and NIfTI in `window`."""
        return decode(self.path(record), where=_place(record), name=record.image, window=self.window)

    def path(self, record: Record) -> Path:
        """The file of the record's image."""
        try:
            return locate(self.folder, record.image, allow_outside=self.allow_outside)
        except ValueError as cause:
            raise DataError(str(cause), where=_place(record), hint="--allow-outside, if you trust the file") from cause


def _place(record: Record) -> str:
    return f"question {record.id}, image {record.image}"


def read_questions(
    path: Path, question: str | None, *, allow_outside: bool = False
) -> tuple[FolderImages, list[Record]]:
    """Questions about images, from a file, or one question about an image or all those of a folder.

    Args:
        path: a JSON list, JSON Lines or CSV with `image` and `question` (or the first turn of `conversations`), and
            `id` if it has one, image names relative to the file; or an image; or a folder of images.
        question: asked about each image; needed where the file has no questions.
        allow_outside: let image names leave the file's folder.

    Raises:
        ConfigError: a question is needed.
        DataError: nothing is there, a row has no image or no question, or an id stands twice.
    """
    if path.is_dir():
        names = sorted(
            file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name[0] != "."
        )
        return FolderImages(path), _about_all(path, names, question)
    if path.is_file() and _is_picture(path):
        return FolderImages(path.parent), _about_all(path, [path.name], question)
    rows = read_rows(path)
    records = [_record(row, number, question, path) for number, row in enumerate(rows, start=1)]
    doubled = [name for name, count in Counter(record.id for record in records).items() if count > 1]
    if doubled:
        hint = "give every question an id of its own, or leave ids out"
        raise DataError(f"ids stand more than once: {', '.join(doubled[:20])}", where=str(path), hint=hint)
    return FolderImages(path.parent, allow_outside), records


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


def _record(row: Row, number: int, question: str | None, path: Path) -> Record:
    image, text = text_of(first(row, _IMAGE)), _question(row) or question
    if not image or not text:
        lacking = "image" if not image else "question"
        hint = "every row needs `image` and `question`; --question asks the same about all"
        raise DataError(f"the row has no {lacking}", where=f"{path}: row {number}", hint=hint)
    return _asked(text_of(first(row, _ID)) or str(number), image, text)


def _question(row: Row) -> str:
    turns = first(row, ("conversations", "conversatons"))
    spoken = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
    text = text_of(spoken.get("value")) or text_of(first(row, _QUESTION)) or ""
    return text.replace(IMAGE, "").strip()


def _asked(name: str, image: str, question: str) -> Record:
    return Record(name, image, ((question, ""),), "", "")
