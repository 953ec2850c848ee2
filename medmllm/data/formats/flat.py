"""Flat rows: one question and one answer each, as tables and most published sets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medmllm.data.formats.fields import Fields
from medmllm.data.formats.reading import Reading, kind_of
from medmllm.data.records import Record

CAPTION_QUESTION = "Describe this image."


@dataclass(frozen=True, slots=True)
class Columns:
    """Names that a field may have, in order of preference; the first that a row has is read.

    Attributes:
        image, question, answer: what a row needs; with a caption alone, the image is asked to be described.
        id: without it a row is called by its file and number.
        kind: question type; without it yes/no answers are "closed" and others "open".
        subject: the person; without it every image counts as one.
        sentence, caption: the two text views; without them the answer serves.
        split, modality: as in a record.
        options: answers to choose from, one column each.
    """

    image: tuple[str, ...] = ("image", "image_path", "file_name", "filename", "file", "path")
    question: tuple[str, ...] = ("question",)
    answer: tuple[str, ...] = ("answer",)
    id: tuple[str, ...] = ("id", "qid", "question_id")
    kind: tuple[str, ...] = ("kind", "answer_type", "question_type")
    subject: tuple[str, ...] = ("subject", "patient", "patient_id", "subject_id")
    sentence: tuple[str, ...] = ("sentence",)
    caption: tuple[str, ...] = ("caption", "text", "answer_long")
    split: tuple[str, ...] = ("split",)
    modality: tuple[str, ...] = ("modality", "modality_type")
    options: tuple[str, ...] = ("option_A", "option_B", "option_C", "option_D")


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
    columns: Columns = Columns()
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
    for number, row in rows:
        fields.number = number
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
    fields.subjects_agree()


def _record(fields: Fields, layout: Layout, row: Any) -> Record | None:
    before, columns = len(fields.reading.problems), layout.columns
    if not isinstance(row, dict):
        fields.wrong("", f"a row must be an object, not {kind_of(row)}")
        return None
    image = fields.image(*_first(row, columns.image), layout.images)
    question, answer, caption = _texts(fields, columns, row)
    identity = _id(fields, columns, row)
    subject = fields.text(*_first(row, columns.subject), image)
    kind = fields.text(*_first(row, columns.kind), _kind(answer)).lower()
    modality = fields.text(*_first(row, columns.modality))
    options = tuple(filter(None, (fields.text(row.get(name), name) for name in columns.options)))
    sentence = fields.text(*_first(row, columns.sentence), answer)
    split = _split(fields, layout, row)
    if len(fields.reading.problems) > before:
        return None
    turns, source = ((question, answer),), fields.reading.path.name
    return Record(identity, image, turns, sentence, caption, kind, subject, source, split, modality, options)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, str]:
    """Value and name of the first of the columns that the row has."""
    name = next((name for name in names if row.get(name) not in (None, "")), names[0])
    return row.get(name), name


def _texts(fields: Fields, columns: Columns, row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Question, answer and caption; a caption alone answers the request to describe the image."""
    question, answer, caption = (
        fields.text(*_first(row, names)) for names in (columns.question, columns.answer, columns.caption)
    )
    if caption and not question and not answer:
        return CAPTION_QUESTION, caption, caption
    if not question:
        fields.wrong(columns.question[0], "is missing", "every row needs a question and an answer, or a caption alone")
    if not answer:
        fields.wrong(columns.answer[0], "is empty", "write an answer, or leave the row out", "no-target")
    return question, answer, caption or answer


def _id(fields: Fields, columns: Columns, row: Mapping[str, Any]) -> str:
    value, name = _first(row, columns.id)
    return fields.identity(f"{fields.reading.path.stem}-{fields.number}" if value in (None, "") else value, name)


def _kind(answer: str) -> str:
    return "closed" if answer.strip(" .").lower() in ("yes", "no") else "open"


def _split(fields: Fields, layout: Layout, row: Mapping[str, Any]) -> str:
    if layout.test_mark is not None:
        name, start = layout.test_mark
        return "test" if str(row.get(name, "")).startswith(start) else fields.reading.split
    return fields.split(*_first(row, layout.columns.split))
