"""Fields that rows of every format share: each read under any of its names, checked, and each fault reported."""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.formats.columns import Columns, first, image_columns, is_empty, plain
from medmllm.data.formats.reading import SPLITS, Reading, Use, half_character, kind_of, split_name
from medmllm.data.formats.spellings import IMAGE_TOKEN
from medmllm.data.images import locate
from medmllm.data.people import names_person
from medmllm.data.records import Record
from medmllm.data.scans.address import address

ANSWER_TYPES = ("open", "closed", "yes/no", "yes_no", "other", "number")
LETTERS = "ABCDEFGHIJ"
_SEVERAL_TYPES = re.compile(r"[A-Z]+(?:, *[A-Z]+)+")
_LETTER = re.compile(r"\(?([A-Ja-j])\)?[.:]?")
_LETTER_AND_WORDS = re.compile(r"\s*\(?([A-Ja-j])\s*[:.)]\s*(.+)", re.DOTALL)
_LETTERED = re.compile(r"\s*(?:\(([A-J])\)|([A-J])\s*[:.)])\s*")
_OUTSIDE = (
    "move the images beside the data file; or, if you trust it, data.allow_outside=true (train), "
    "--allow-outside (other commands)"
)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # a drive or a share
_RELATIVE = "write paths relative to the data file's folder, as in scans/7.png, or to data.images"


@dataclass(slots=True)
class Fields:
    """Reads the fields of one row after another.

    Attributes:
        reading: where records and faults go.
        columns: names of the fields.
        number: the row's number.
    """

    reading: Reading
    columns: Columns
    number: int = 0
    _outside: dict[str, str] = field(default_factory=dict)  # what is wrong with each image's path, asked once
    _first: dict[str, Record] = field(default_factory=dict)  # the first row of each id
    _again: Counter[str] = field(default_factory=Counter)  # how often each stood again
    _asked: set[tuple[str, tuple[str, ...], str]] = field(default_factory=set)
    _counts: Counter[int] = field(default_factory=Counter)  # how many rows have so many images
    _text_only: bool = False  # whether the row that was read last has no image and needs none
    _missing: Counter[str] = field(default_factory=Counter)  # how often each of several image columns is empty

    def wrong(self, name: str, message: str, hint: str = "", check: str = "") -> None:
        self.reading.report(self.number, name, message, hint, check)

    def needs(self, name: str) -> bool:
        """Whether a row cannot do without the field "image", "question" or "answer"."""
        return name in self.reading.wanted.use.value

    def cell(self, row: Mapping[str, Any], name: str, default: str = "") -> str:
        """Text of a field by its name in `Columns`."""
        return self.text(*first(row, getattr(self.columns, name)), default)

    def answer(self, row: Mapping[str, Any]) -> str:
        """The answer: of the first of its columns that the row has, as a later one may be of something else.

        Several are joined by commas, and what names one of the row's options by its letter is that option.
        """
        value, name = first(row, self.columns.answer, empty=True)
        if isinstance(value, list) and len(value) > 1 and all(isinstance(one, (str, int, float)) for one in value):
            value = ", ".join(map(str, value))
        text = self.text(None if value == [] else value, name)
        named = self._options(row)
        written = {raw: option for option, raw in named.values()}
        return written.get(text) or option_of(text, {letter: option for letter, (option, _) in named.items()}) or text

    def options(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Answers to choose from, without the letters that some sets write before them ("A: CT")."""
        return tuple(option for option, _ in self._options(row).values())

    def _options(self, row: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """The same by their letters, some of which may have none, each also as it is written."""
        cells = dict(zip(LETTERS, (first(row, names) for names in self.columns.options)))  # noqa: B905
        if all(is_empty(value) for value, _ in cells.values()):
            cells = self._listed(row)
        raw = {letter: option for letter, cell in cells.items() if (option := self.text(*cell))}
        letters = [match[1] or match[2] if (match := _LETTERED.match(option)) else "" for option in raw.values()]
        if letters != list(raw):
            return {letter: (option, option) for letter, option in raw.items()}
        return {letter: (_LETTERED.sub("", option, count=1) or option, option) for letter, option in raw.items()}

    def _listed(self, row: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """Options of one column by their letters, each with the column's name: a list of texts, or `{"A": "CT"}`."""
        value, name = first(row, self.columns.choices)
        found = dict(zip(LETTERS, value)) if isinstance(value, list) else value  # noqa: B905
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in (*found, *found.values())):
            return {}
        if not all(letter in LETTERS for letter in found):
            return {}
        return {letter: (option, name) for letter, option in found.items()}

    def about(self, row: Mapping[str, Any], identity: str, images: Sequence[str], answer: str) -> dict[str, Any]:
        """A row's fields beside image and texts, as arguments of `Record`."""
        guessed = "closed" if answer.strip(" .").lower() in ("yes", "no") else "open"
        value, kind = first(row, self.columns.kind)
        topic = _sorted_parts(self._beside(row, "topic", kind))
        return {
            "id": identity,
            "image": images[0] if images else "",
            "further": tuple(images[1:]),
            "subject": self.cell(row, "subject", address(images[0]).path if images else ""),  # a volume is one person
            "kind": self.text(value, kind, guessed).lower(),
            "answer_type": self._beside(row, "answer_type", kind).lower(),
            "topic": "" if topic.casefold() in self._answer_types(row, kind) else topic,
            "modality": self.cell(row, "modality"),
            "options": self.options(row),
            "source": self.reading.path.name,
        }

    def _answer_types(self, row: Mapping[str, Any], kind: str) -> tuple[str, ...]:
        """What in the column of topics is a type of answer; "other" is a topic where another column has the type."""
        beside = first(row, self.columns.topic)[1] != kind and plain(kind) in map(plain, self.columns.answer_type)
        return ("open", "closed") if beside else ANSWER_TYPES

    def _beside(self, row: Mapping[str, Any], name: str, kind: str) -> str:
        """Text of a field that may share its column with the kind: faults of that are reported already."""
        value, column = first(row, getattr(self.columns, name))
        return "" if column == kind and not isinstance(value, str) else self.text(value, column)

    def identity(self, row: Mapping[str, Any]) -> str:
        """The row's id, which no earlier row of the file has; without one, its number, for training after the file."""
        value, name = first(row, self.columns.id)
        if value in (None, ""):
            trained = self.reading.wanted.use is Use.TRAIN
            value = f"{self.reading.path.stem}-{self.number}" if trained else self.number
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            self.wrong(name, f"is {kind_of(value)}", "give every row an id of its own")
            return ""
        return self.whole(name, str(value))

    def settle_id(self, record: Record) -> Record | None:
        """The record under an id that no earlier row has; None, and a fault, where the two cannot be distinguished.

        An id that is used again for another question about the same image or person is the name of that image or
        person, not of the row: it gets a number, and is counted.
        """
        rows, earlier = self.reading.rows, self._first.setdefault(record.id, record)
        key = (record.id, record.images, record.question)
        if earlier is record and record.id not in rows:
            rows[record.id] = self.number
            self._asked.add(key)
            return record
        same = record.images == earlier.images or (names_person(record) and record.subject == earlier.subject)
        if not record.image or not same or key in self._asked:
            hint = "give every row an id of its own"
            self.wrong("id", f"{record.id!r} is also the id of row {rows[record.id]}", hint)
            return None
        self._asked.add(key)
        self._again[record.id] += 1
        name = f"{record.id}-{self._again[record.id] + 1}"
        while name in rows:
            name += "'"
        rows[name] = self.number
        return replace(record, id=name)

    def images(self, row: Mapping[str, Any], folder: str = "") -> tuple[str, ...]:
        """Names of the row's images, relative to the folder that they may not leave where they are going to be opened.

        They are in one column, as a name or a list, or in one column each. Empty ones among several are counted.
        """
        cells = self._image_cells(row)
        found = [(field_name, name) for field_name, value in cells for name in self._names(value)]
        there = [(field_name, name) for field_name, name in found if not is_empty(name)]
        self._count_views(cells, len(there))
        self._text_only = not there and self._has_none_by_right(cells)
        if there or self._text_only:
            names = [self._path(self._below_root(row, name), field_name, folder) for field_name, name in there]
            return tuple(names) if all(names) else ()
        if self.needs("image"):
            self.wrong(cells[0][0], "is missing", "name an image file; a row of text alone has the empty list []")
        return ()

    def marked(self, name: str, marks: Sequence[tuple[int, int]], images: Sequence[str]) -> dict[str, Any]:
        """Where the images stand, as arguments of `Record`; a fault where there are more or fewer marks than images.

        Args:
            name: of the field with the marks.
            marks: turn and letter of each mark.
            images: names of the row's images.
        """
        count = len(marks)
        if count and count != len(images) and (images or self._text_only):
            again = (
                "again"
                if len(images) == 1
                else f"{count_of(count, 'time')}, and the row names {count_of(len(images), 'image')}"
            )
            hint = f"write {IMAGE_TOKEN} once for each image of the row, or nowhere"
            self.wrong(name, f"holds {IMAGE_TOKEN} {again}", hint, "image-token")
            return {}
        if count <= 1 and all(turn == 0 for turn, _ in marks):
            return {"image_place": marks[0][1] if marks else 0}
        return {"marks": tuple(marks)} if images else {}

    def _image_cells(self, row: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Column and value of every cell that may hold images."""
        named = self.reading.wanted.image_columns
        for name in named:
            if name not in row:
                self.wrong(name, "is missing, and data.image_columns names it", "name the columns as the table does")
        several = named or image_columns(tuple(row), self.columns.image)
        if len(several) > 1 or named:
            return [(name, row.get(name)) for name in several]
        value, name = first(row, self.columns.image)
        return [(name, value)]

    def _has_none_by_right(self, cells: Sequence[tuple[str, Any]]) -> bool:
        """Whether a row without an image says so, or rows of text alone are wanted."""
        empty = all(value == [] for _, value in cells)
        return empty or (self.reading.wanted.text_only and all(is_empty(value) for _, value in cells))

    def _count_views(self, cells: Sequence[tuple[str, Any]], count: int) -> None:
        """Remember how many images the row has, and which of several columns have none."""
        self._counts[count] += 1
        if len(cells) > 1 and count:
            self._missing.update(name for name, value in cells if is_empty(value) or value == [])

    def _names(self, value: Any) -> list[Any]:
        """The images of a cell: names, a list of them, also as Python prints it, or the hub's `{"path"}`."""
        value = only(value)
        value = _printed_list(value) if isinstance(value, str) else value
        names = value if isinstance(value, list) else [value]
        names = [name.get("path") if isinstance(name, dict) else name for name in names]
        return names[:1] if len(set(map(str, names))) == 1 else names

    def _path(self, name: Any, field_name: str, folder: str) -> str:
        """One image's name as a path; "" and a fault where it is none."""
        if not isinstance(name, str):
            self.wrong(field_name, f"is {kind_of(name)}", "name an image file")
            return ""
        if not self.whole(field_name, name):
            return ""
        if not self.needs("image"):
            return posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
        if os.name != "nt" and _WINDOWS.match(name):
            self.wrong(field_name, f"the image path {name!r} is an absolute Windows path", _RELATIVE)
            return ""
        name = posixpath.join(folder, self._slashed(name, folder))
        if name not in self._outside:
            self._outside[name] = self._fault_of_path(name)
        if self._outside[name]:
            self.wrong(field_name, self._outside[name], _OUTSIDE)
        return posixpath.normpath(name) + ("/" if name.endswith("/") else "")

    def _below_root(self, row: Mapping[str, Any], name: Any) -> Any:
        """The name below the folder that the row names beside it, as RadFM's tables do, if the image is there."""
        root = first(row, self.columns.image_root)[0]
        if not (isinstance(name, str) and isinstance(root, str)):
            return name
        path = os.path.join(self.reading.folder, root, name)
        if not os.path.exists(path):
            return name
        inside = os.path.relpath(path, self.reading.folder)
        return path if inside.startswith("..") else Path(inside).as_posix()

    def _slashed(self, name: str, folder: str) -> str:
        """A path that Windows wrote, with slashes, unless a file has that very name."""
        there = "\\" in name and os.path.exists(os.path.join(self.reading.folder, folder, name))
        return name if there else name.replace("\\", "/")

    def _fault_of_path(self, name: str) -> str:
        try:
            locate(self.reading.folder, name, allow_outside=self.reading.wanted.allow_outside)
        except ValueError as cause:
            return str(cause)
        return ""

    def text(self, value: Any, name: str, default: str = "") -> str:
        """A text or a number as text, also as a list of one; the default where there is none."""
        value = only(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            self.wrong(name, f"is {kind_of(value)}, not text")
            return default
        text = "" if value is None else self.whole(name, str(value)).strip()
        return text or default

    def split(self, value: Any, name: str = "split") -> str:
        """The split that a row names, or the file's."""
        word = self.text(value, name)
        found = split_name(word) if word else self.reading.split
        if found is None:
            self.wrong(name, f"{word!r} is not a split", f"one of {', '.join(SPLITS)}")
        return found or self.reading.split

    def whole(self, name: str, text: str) -> str:
        """The text; "" where it holds half of a character, which no file of the run could hold."""
        half = half_character(text)
        if half:
            hint = "write both halves of the character, or leave it out"
            self.wrong(name, f"holds half of a character ({half})", hint)
        return "" if half else text

    def finish(self) -> None:
        """What only the whole file tells: ids that were made unique, images of two people."""
        if count := self._again.total():
            name, _ = self._again.most_common(1)[0]
            told = f"{count} ids are used again for other questions, such as {name!r}; {name}-2, {name}-3 ... are read"
            self.reading.warnings.append(f"{self.reading.path}: {told}")
        self._tell_views()
        self.subjects_agree()

    def _tell_views(self) -> None:
        """How many images are missing where rows have several, and how many rows have how many."""
        rows = self._counts.total()
        told = [f"{name} is empty in {count} of {count_of(rows, 'row')}" for name, count in self._missing.items()]
        if len(self._counts) > 1 and max(self._counts) > 1:
            each = ", ".join(f"{n} in {count_of(self._counts[n], 'row')}" for n in sorted(self._counts))
            told.append(f"images in a row: {each}")
        self.reading.warnings += [f"{self.reading.path}: {line}" for line in told]

    def subjects_agree(self) -> None:
        """Report images of two people in data to train on: they would leak from one split into the other."""
        if self.reading.wanted.use is not Use.TRAIN:
            return
        owner: dict[str, str] = {}
        for record in self.reading.records:
            if record.further and not names_person(record):
                continue  # which of its images it is called after says nothing about the others
            other = next(
                (name for name in record.images if owner.setdefault(name, record.subject) != record.subject), None
            )
            if other is not None:
                message = f"the image {other!r} belongs to {owner[other]!r} in an earlier row"
                row, hint = self.reading.rows[record.id], "give all rows of an image the same subject"
                self.reading.report(row, "subject", message, hint)


def option_of(text: str, options: Mapping[str, str]) -> str:
    """The option that a text names by its letter, alone or before the option's own words; "" where it names none.

    Example:
        >>> options = {"A": "CT", "B": "MRI"}
        >>> option_of("B", options), option_of("(b) mri.", options), option_of("B. CT", options)
        ('MRI', 'MRI', '')
    """
    if text in options.values():
        return text
    if letter := _LETTER.fullmatch(text.strip()):
        return options.get(letter[1].upper(), "")
    found = _LETTER_AND_WORDS.fullmatch(text)
    option = options.get(found[1].upper(), "") if found else ""
    return option if found and found[2].strip(" .").casefold() == option.strip(" .").casefold() else ""


def only(value: Any) -> Any:
    """The entry of a list of one, also as Python prints it, `"['yes']"`; None for NaN; any other value as it is."""
    if isinstance(value, str):
        return _printed(value)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return None if is_empty(value) and value != "" else value


def _printed_list(text: str) -> Any:
    """The list of names that a cell of a table holds, as Python or JSON prints it; any other text as it is."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    try:
        found = json.loads(text) if '"' in text or text == "[]" else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, list) else text


def _printed(text: str) -> str:
    """The one text of a printed list, as scripts save batches of one; any other text as it is."""
    if text[:2] not in ("['", '["') or not text.endswith("]"):
        return text
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) else text


def _sorted_parts(topic: str) -> str:
    """Several types of one question in one order: VQA-RAD writes both "PRES, ATTRIB" and "ATTRIB, PRES"."""
    return ", ".join(sorted(re.split(r", *", topic))) if _SEVERAL_TYPES.fullmatch(topic) else topic
