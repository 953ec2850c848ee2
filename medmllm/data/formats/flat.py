"""Flat rows: one question and one answer each, as tables and most published sets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medmllm.data.formats.columns import Columns, first, ignored_line
from medmllm.data.formats.fields import Fields
from medmllm.data.formats.reading import Reading, Use, kind_of
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


def read_rows(reading: Reading, rows: Iterable[tuple[int, Any]], layout: Layout) -> None:
    """Read flat rows into the reading; rows in other languages are left out and counted in a warning."""
    fields, foreign = Fields(reading, layout.columns), 0
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
    strange = ignored_line(seen, layout.columns.names)
    if strange:
        reading.warnings.append(f"{reading.path}: columns that are not read: {strange}")
    fields.subjects_agree()


def _record(fields: Fields, layout: Layout, row: Any) -> Record | None:
    before = len(fields.reading.problems)
    if not isinstance(row, dict):
        fields.wrong("", f"a row must be an object, not {kind_of(row)}")
        return None
    image = fields.image(row, layout.images)
    question, answer, caption = _texts(fields, row)
    about = fields.about(row, image, answer)
    sentence, split = fields.cell(row, "sentence", answer), _split(fields, layout, row)
    if len(fields.reading.problems) > before:
        return None
    turns = ((question, answer),)
    return Record(image=image, turns=turns, sentence=sentence, caption=caption or answer, split=split, **about)


def _texts(fields: Fields, row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Question, answer and caption; a caption alone answers the request to describe the image."""
    columns, wanted = fields.columns, fields.reading.wanted
    question, caption = fields.cell(row, "question"), fields.cell(row, "caption")
    answer = fields.text(*first(row, columns.answer, empty=True))  # not a later name's: an empty answer is a fault
    if caption and not question and not answer:
        return (caption, "", "") if wanted.use is Use.ASK else (CAPTION_QUESTION, caption, caption)
    question = question or wanted.question
    if not question and fields.needs("question"):
        hint = "every row needs a question and an answer, or a caption alone"
        if wanted.use is Use.ASK:
            hint = "every row needs `image` and `question`; --question asks the same about all"
        fields.wrong(columns.question[0], "is missing", hint)
    if not answer and fields.needs("answer"):
        fields.wrong(columns.answer[0], "is empty", "write an answer, or leave the row out", "no-target")
    return question, answer, caption


def _split(fields: Fields, layout: Layout, row: Mapping[str, Any]) -> str:
    if layout.test_mark is not None:
        name, start = layout.test_mark
        return "test" if str(row.get(name, "")).startswith(start) else "train"
    return fields.split(*first(row, layout.columns.split))
