"""Flat rows: one question and one answer each, as tables and most published sets have them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphalign.counts import count_of
from medmllm.data.formats.columns import Columns, first, has, ignored_line, image_columns, plain
from medmllm.data.formats.fields import Fields
from medmllm.data.formats.looks import is_caption, report_columns
from medmllm.data.formats.reading import Reading, Use, kind_of
from medmllm.data.formats.spellings import IMAGE_TOKEN, plain_mark, without_marks
from medmllm.data.records import Record

CAPTION_QUESTION = "Describe this image."
_INSTRUCTION, _INPUT = "instruction", "input"
_INDEX = ("", "index", "unnamed:0", "indexlevel0")  # columns that pandas writes


@dataclass(frozen=True, slots=True)
class Layout:
    """How one data set spells its rows.

    Attributes:
        name: name of the format.
        about: one line for lists.
        columns: names of its fields.
        signature: fields that no other format has together.
        without: fields that such rows lack.
        images: folder of the images, as it stands below the data set's.
        language: field that says the language of a row, if any.
        answerless: whether published rows without an answer are left out, not reported.
        majority: whether an image's person is the one that most of its rows name.
        test_mark: `(field, start)`: a row whose field begins so belongs to the test split.
        split: split of a file that does not say it.
    """

    name: str
    about: str
    columns: Columns = field(default_factory=Columns)
    signature: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    images: str = ""
    language: str = ""
    answerless: bool = False
    majority: bool = False
    test_mark: tuple[str, str] | None = None
    split: str | None = None

    def knows(self, row: Any) -> bool:
        """Whether a row is spelt in this way."""
        if not isinstance(row, dict) or not self.signature:
            return False
        return self.signature <= row.keys() and self.without.isdisjoint(row)

    def foreign(self, row: Mapping[str, Any], language: str) -> bool:
        """Whether a row is in another language than the one that is wanted."""
        return bool(self.language) and language != "all" and row.get(self.language) not in (None, language)


def read_rows(reading: Reading, rows: Iterable[tuple[int, Any]], layout: Layout) -> None:
    """Read flat rows into the reading; rows in other languages are left out and counted in a warning."""
    fields, foreign, language = Fields(reading, layout.columns), 0, reading.wanted.language
    seen: dict[str, None] = {}
    for number, row in rows:
        fields.number = number
        seen |= dict.fromkeys(row if isinstance(row, dict) and not layout.signature else ())
        if isinstance(row, dict) and layout.foreign(row, language):
            foreign += 1
            continue
        record = _record(fields, layout, row)
        if record is not None:
            reading.records.append(record)
    if foreign:
        told = f"{count_of(foreign, 'row is', 'rows are')} left out: {layout.language} is not {language}"
        reading.warnings.append(f"{reading.path}: {told}")
    read = {*reading.wanted.image_columns, *image_columns(tuple(seen), layout.columns.image)}
    known = {*map(plain, read), *_INDEX, *((_INPUT,) if _INSTRUCTION in map(plain, seen) else ())}
    strange = ignored_line([name for name in seen if plain(name) not in known], layout.columns.names)
    if strange:
        reading.warnings.append(f"{reading.path}: columns that are not read: {strange}")
    if layout.answerless:
        _leave_out_answerless(reading)
    if layout.majority:
        _settle_people(reading)
    fields.finish()


def _leave_out_answerless(reading: Reading) -> None:
    """Leave out published rows whose only fault is that they have no answer."""
    others = {problem.row for problem in reading.problems if problem.check != "no-target"}
    empty = [problem for problem in reading.problems if problem.check == "no-target" and problem.row not in others]
    if empty:
        reading.problems = [problem for problem in reading.problems if problem not in empty]
        reading.leave_out(empty, "no answer")


def _settle_people(reading: Reading) -> None:
    """Give each image the person that most of its rows name, the first of equals; counted in a warning."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for record in reading.records:
        votes[record.image][record.subject] += 1
    owner = {image: people.most_common(1)[0][0] for image, people in votes.items()}
    moved = [record for record in reading.records if record.subject != owner[record.image]]
    if moved:
        reading.records = [replace(record, subject=owner[record.image]) for record in reading.records]
        images, row = len({record.image for record in moved}), reading.rows[moved[0].id]
        rows = f"{count_of(len(moved), 'row')} ({count_of(images, 'image')})"
        told = f"{rows} named another case than most rows of their image: the case of the most rows is used"
        reading.warnings.append(f"{reading.path}: {told} (row {row}, image {moved[0].image})")


def _record(fields: Fields, layout: Layout, row: Any) -> Record | None:
    before = len(fields.reading.problems)
    if not isinstance(row, dict):
        fields.wrong("", f"a row must be an object, not {kind_of(row)}")
        return None
    identity, images = fields.identity(row), fields.images(row, layout.images)
    question, answer, caption, marks = _texts(fields, row)
    about = fields.about(row, identity, images, answer)
    about |= fields.marked(layout.columns.question[0], [(0, letter) for letter in marks], images)
    sentence, split = fields.cell(row, "sentence", answer), _split(fields, layout, row)
    if len(fields.reading.problems) > before:
        return None
    record = Record(
        turns=((question, answer),),
        sentence=sentence,
        caption=caption or answer,
        caption_missing=not caption,
        split=split,
        **about,
    )
    return fields.settle_id(record)


def _texts(fields: Fields, row: Mapping[str, Any]) -> tuple[str, str, str, tuple[int, ...]]:
    """Question, answer, caption, and where the question has its images; a caption alone asks for a description."""
    columns, wanted = fields.columns, fields.reading.wanted
    question, marks = without_marks(plain_mark(_with_input(fields, row, fields.cell(row, "question"))))
    answer = fields.answer(row)
    caption, name = _caption(fields, row)
    if caption and not question and not answer:
        if plain(name) == "text" and not is_caption(row):
            if wanted.use is Use.ASK:
                return caption, "", "", ()
            fields.wrong(columns.answer[0], "is missing: the text is a question", "exgra predict RUN FILE answers it")
            return caption, "", "", ()
        if wanted.use is not Use.ASK:
            return CAPTION_QUESTION, caption, caption, ()
    question = question or wanted.question
    if not question and fields.needs("question"):
        hint = "every row needs a question and an answer, or a caption alone"
        if wanted.use is Use.ASK:
            hint = "every row needs `image` and `question`; --question asks the same about all"
        fields.wrong(columns.question[0], "is missing", hint)
    if not answer and fields.needs("answer"):
        fields.wrong(columns.answer[0], "is empty", "write an answer, or leave the row out", "no-target")
    if fields.needs("answer") and IMAGE_TOKEN in answer + caption:
        hint = "images are named in the question"
        fields.wrong(columns.question[0], f"holds {IMAGE_TOKEN} again", hint, "image-token")
    return question, answer, caption, marks


def _with_input(fields: Fields, row: Mapping[str, Any], question: str) -> str:
    """The question; of Alpaca's layout, the instruction with what it is about on the next lines."""
    if plain(first(row, fields.columns.question)[1]) != _INSTRUCTION:
        return question
    return "\n".join(filter(None, (question, fields.text(*first(row, (_INPUT,))))))


def _caption(fields: Fields, row: Mapping[str, Any]) -> tuple[str, str]:
    """The caption, and the name of its column; of a report where a row has nothing else to say."""
    value, name = first(row, fields.columns.caption)
    if value is None and not has(row, (*fields.columns.question, *fields.columns.answer)):
        names = report_columns(row)
        value, name = (row[names[0]], names[0]) if len(names) == 1 else (None, name)
    return fields.text(value, name), name


def _split(fields: Fields, layout: Layout, row: Mapping[str, Any]) -> str:
    if layout.test_mark is not None and not fields.reading.named:  # a file that is called after its split is of it
        name, start = layout.test_mark
        return "test" if str(row.get(name, "")).startswith(start) else "train"
    return fields.split(*first(row, layout.columns.split))
