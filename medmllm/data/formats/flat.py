"""Flat rows: one question and one answer each, as tables and most published sets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medmllm.data.formats.columns import Columns, first, told
from medmllm.data.formats.fields import Fields
from medmllm.data.formats.reading import Reading, kind_of
from medmllm.data.records import Record

CAPTION_QUESTION = "Describe this image."


@dataclass(frozen=True, slots=True)
class Layout:
    """How one data set spells its rows.

    Attributes:
        name: name of the format.
        about: one line for lists.
        columns: names of its fields.
        signature: fields that no other format has together.
        images: folder of the images, as it stands below the data set's.
        language: `(field, value)` that rows must have to be read, if any.
        test_mark: `(field, start)`: a row whose field begins so belongs to the test split.
        split: split of a file that does not say it.
    """

    name: str
    about: str
    columns: Columns = field(default_factory=Columns)
    signature: frozenset[str] = frozenset()
    images: str = ""
    language: tuple[str, str] | None = None
    test_mark: tuple[str, str] | None = None
    split: str | None = None

    def knows(self, row: Any) -> bool:
        """Whether a row is spelt in this way."""
        return isinstance(row, dict) and bool(self.signature) and self.signature <= row.keys()

    def foreign(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is in another language than the one that is read."""
        return self.language is not None and row.get(self.language[0]) not in (None, self.language[1])


def read_rows(
    reading: Reading, rows: Iterable[tuple[int, Any]], layout: Layout, *, allow_outside: bool = False
) -> None:
    """Read flat rows into the reading; rows in other languages are left out and counted in a warning."""
    fields, foreign = Fields(reading, allow_outside), 0
    seen: dict[str, None] = {}
    for number, row in rows:
        fields.number = number
        seen |= dict.fromkeys(row if isinstance(row, dict) and not layout.signature else ())
        if isinstance(row, dict) and layout.foreign(row):
            foreign += 1
            continue
        record = _record(fields, layout, row)
        if record is not None:
            reading.records.append(record)
    if foreign and layout.language:
        reading.warnings.append(
            f"{reading.path}: {foreign} rows are left out, as their {layout.language[0]} is not {layout.language[1]}"
        )
    strange = told(seen, layout.columns.names)
    if strange:
        reading.warnings.append(f"{reading.path}: columns that are not read: {strange}")
    fields.subjects_agree()


def _record(fields: Fields, layout: Layout, row: Any) -> Record | None:
    before, columns = len(fields.reading.problems), layout.columns
    if not isinstance(row, dict):
        fields.wrong("", f"a row must be an object, not {kind_of(row)}")
        return None
    image = fields.image(*first(row, columns.image), layout.images)
    question, answer, caption = _texts(fields, columns, row)
    identity = _id(fields, columns, row)
    subject = fields.text(*first(row, columns.subject), image)
    kind = fields.text(*first(row, columns.kind), _kind(answer)).lower()
    modality = fields.text(*first(row, columns.modality))
    options = tuple(filter(None, (fields.text(*first(row, (name,))) for name in columns.options)))
    sentence = fields.text(*first(row, columns.sentence), answer)
    split = _split(fields, layout, row)
    if len(fields.reading.problems) > before:
        return None
    turns, source = ((question, answer),), fields.reading.path.name
    return Record(identity, image, turns, sentence, caption, kind, subject, source, split, modality, options)


def _texts(fields: Fields, columns: Columns, row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Question, answer and caption; a caption alone answers the request to describe the image."""
    question, answer, caption = (
        fields.text(*first(row, names)) for names in (columns.question, columns.answer, columns.caption)
    )
    if caption and not question and not answer:
        return CAPTION_QUESTION, caption, caption
    if not question:
        fields.wrong(columns.question[0], "is missing", "every row needs a question and an answer, or a caption alone")
    if not answer:
        fields.wrong(columns.answer[0], "is empty", "write an answer, or leave the row out", "no-target")
    return question, answer, caption or answer


def _id(fields: Fields, columns: Columns, row: Mapping[str, Any]) -> str:
    value, name = first(row, columns.id)
    return fields.identity(f"{fields.reading.path.stem}-{fields.number}" if value in (None, "") else value, name)


def _kind(answer: str) -> str:
    return "closed" if answer.strip(" .").lower() in ("yes", "no") else "open"


def _split(fields: Fields, layout: Layout, row: Mapping[str, Any]) -> str:
    if layout.test_mark is not None:
        name, start = layout.test_mark
        return "test" if str(row.get(name, "")).startswith(start) else fields.reading.split
    return fields.split(*first(row, layout.columns.split))
