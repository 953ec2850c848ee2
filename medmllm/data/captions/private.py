"""Whether data is marked private: such data is sent nowhere, and neither is data of which that cannot be seen.

A mark is a file called `PRIVATE`, in any spelling and with any ending, in a folder between the data file and its
images, or a row with a field `private`, alone or as one word of its name, that is not plainly false. Where a data file,
a folder or an image is a link, what it leads to counts too.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from medmllm.data.formats import Reading
from medmllm.data.formats.registry import ENDINGS, raw_rows
from medmllm.data.records import each_image
from medmllm.data.source import Source
from medmllm.errors import ConfigError, DataError

FIELDS = ("private", "isprivate")
_MARKER = re.compile(r"(.*[\W\d_])?private([\W\d_].*)?", re.DOTALL)  # the word in a file's name
_NO = ("", "false", "f", "no", "n", "0", "0.0", "off", "none", "null", "nan")
_LOCAL = "use a model on this machine, --local FOLDER, or --rules"


class Mark(NamedTuple):
    """What marks data as private, as the end of a sentence, and where it stands."""

    why: str
    where: str


def refuse_private(path: Path, reading: Reading, *, hint: str = _LOCAL) -> None:
    """Stop if a data file, one of its rows, or a folder between it and its images is marked private.

    Args:
        path: the data file.
        reading: the folder of its images, and its records where they were read.
        hint: what to do instead of sending.

    Raises:
        ConfigError: the data is marked private, or it cannot be seen whether it is.
    """
    names = [name for record in reading.records for name in record.images]
    _refuse(_mark_of_file(path, [reading.folder], names), hint)


def refuse_private_source(source: Source, *, hint: str) -> None:
    """Stop if any file of a data set, one of its rows, or a folder between them and the images is marked private.

    Raises:
        ConfigError: the data is marked private, or it cannot be seen whether it is.
    """
    _refuse(find_mark(source), hint)


def find_mark(source: Source) -> Mark | None:
    """The first mark of a data set; None where there is none."""
    splits = [source.records(split) for split in source.splits]
    folders = set()
    for record in each_image(record for records in splits if isinstance(records, tuple) for record in records):
        try:
            content = source.content(record)
        except DataError:  # what cannot be read is neither shown nor sent
            continue
        if isinstance(content, Path):
            folders |= _folders_of(content)
    files = [Path(file["path"]) for file in source.files()]
    found = (_mark_of_file(file, folders) for file in files if file.exists())
    return next((mark for mark in found if mark), None)


def _refuse(mark: Mark | None, hint: str) -> None:
    if mark is not None:
        message = f"the data is private and is not sent to an endpoint: {mark.why}"
        raise ConfigError(message, where=mark.where, hint=hint)


def _mark_of_file(path: Path, folders: Iterable[Path], names: Iterable[str] = ()) -> Mark | None:
    """The mark of a data file, its rows, or a folder on the way to its images, which are relative to `folders`."""
    folders, inner = set(folders), set(names)
    if path.suffix.lower() in ENDINGS and path.name != "index.json":  # that of shards has no rows
        reading = Reading(path, path.parent)
        for number, row in raw_rows(reading):
            if _marked(row):
                return Mark(f"row {number} is marked private", f"{path}: row {number}")
            inner |= set(_texts(row))
        if reading.problems:
            return Mark(f"its rows cannot be read to see it ({reading.problems[0].message})", str(path))
    images = (folder / name for folder in folders for name in inner if len(name) < 1000)
    places = folders.union(*map(_folders_of, images))
    between = {folder for place in places if place.is_dir() for folder in _between(place, path)}
    return next((mark for folder in sorted(between) if (mark := _mark_of_folder(folder))), None)


def _folders_of(file: Path) -> set[Path]:
    """The folder of a file, and that of what it leads to where it is a link."""
    return {file.parent, file.resolve().parent} if os.path.islink(file) else {file.parent}


def _between(folder: Path, file: Path) -> Iterator[Path]:
    """The folders on the way from a folder to a data file, as they are written and as they are behind links."""
    for one, two in ((folder.absolute(), file.absolute().parent), (folder.resolve(), file.resolve().parent)):
        shared = Path(os.path.commonpath([one, two]))
        for end in (one, two):
            places = (place for place in (end, *end.parents) if place.is_relative_to(shared))
            yield from (place for place in places if place != place.parent)  # not the root of the file system


def _mark_of_folder(folder: Path) -> Mark | None:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if _is_marker(entry))
    except OSError as error:
        return Mark(f"a folder cannot be looked into ({error.strerror})", str(folder))
    found = next(iter(names), None)
    return Mark(f"the file {found} is beside it", str(folder / found)) if found else None


def _is_marker(entry: os.DirEntry[str]) -> bool:
    """A file with the word in its name; a folder of just this name, as there are other private folders."""
    name = _folded(entry.name)
    return name.strip("._ ") == "private" if entry.is_dir() else _MARKER.fullmatch(name) is not None


def _marked(value: Any) -> bool:
    """Whether a row or an object in it, also as a text of JSON, has a field `private` that is not plainly false."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and ("private" in _folded(value) or "\\u" in value):
        with suppress(ValueError, RecursionError):
            return _marked(json.loads(value))
        return False
    if isinstance(value, Mapping):
        return any(
            (_is_field(str(name)) and _folded(str(part)).strip() not in _NO) or _marked(part)
            for name, part in value.items()
        )
    return isinstance(value, list) and any(map(_marked, value))


def _is_field(name: str) -> bool:
    """Whether a field marks its row: its name is the word, or has it among its words, as in `private_flag`."""
    words = re.split(r"[\W\d_]+", _folded(re.sub(r"([a-z])([A-Z])", r"\1 \2", name)))
    return "private" in words or "".join(words) in FIELDS


def _texts(value: Any) -> Iterator[str]:
    """Texts of a row, or of what is in it, that may be an image's path with a folder."""
    if isinstance(value, str):
        if not {"\n", "\0"} & set(value):
            yield value.replace("\\", "/")
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _folded(text: str) -> str:
    """A text without case, variants of letters, and characters that nobody sees."""
    seen = "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")
    return seen.casefold()
