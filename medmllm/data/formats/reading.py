"""What reading a data file gives: records, the row of each, and everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.records import Record
from medmllm.errors import DataError

IMAGE_FOLDERS = (
    "images", "Images", "imgs", "image", "img", "figures", "Train_images", "Val_images", "Test_images",
    "VQAMed2019_Test_Images", "VQA_RAD Image Folder",
)  # fmt: skip
SPLITS = ("train", "validation", "test", "test_slab")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "valset", "devset", "validset"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    "test_slab": "test_slab",
}
_LONE = re.compile("[\ud800-\udfff]")  # halves of characters, which JSON can spell and UTF-8 cannot
MOST_PROBLEMS = 10_000  # of a file, after which it is not read on
_SHOWN = 8  # problems spelt out in one error; `exgra data validate` lists them all


class Use(Enum):
    """What rows are read for; the value names the fields that a row then cannot do without."""

    TRAIN = frozenset({"image", "question", "answer"})
    SCORE = frozenset({"answer"})
    ASK = frozenset({"image", "question"})
    PREDICTION = frozenset({"prediction"})
    CAPTION = frozenset({"id", "caption"})

    @property
    def columns(self) -> tuple[str, ...]:
        """What messages advise to call the columns of such a file."""
        return {
            Use.TRAIN: ("image", "question", "answer"),
            Use.SCORE: ("id", "question", "answer"),
            Use.ASK: ("id", "image", "question"),
            Use.PREDICTION: ("id", "prediction"),
            Use.CAPTION: ("id", "caption"),
        }[self]

    @property
    def page(self) -> str:
        """The page that describes such a file."""
        return "docs/evaluation.md" if self is Use.PREDICTION else "docs/formats.md"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The result of reading a file.

    Attributes:
        use: what the rows are for.
        question: asked where a row asks nothing.
        allow_outside: do not refuse image paths that leave the folder.
        language: of rows that say theirs in a published set: "en", "zh", or "all".
        unnamed: split of rows whose split neither row, file name nor format says.
        image_columns: columns with the images of a row, where their names do not say it.
        text_only: keep rows that name no image.
    """

    use: Use = Use.TRAIN
    question: str = ""
    allow_outside: bool = False
    language: str = "en"
    unnamed: str = "train"
    image_columns: tuple[str, ...] = ()
    text_only: bool = False


TO_TRAIN_ON = Wanted()


class TooManyProblems(Exception):
    """A file has so many problems that the rest is not worth the memory."""


@dataclass(frozen=True, slots=True)
class DataProblem:
    """Something wrong with a data file: where, what, and the remedy.

    Attributes:
        file: the data file.
        row: its row or line, from 1; None where it is the file as a whole.
        field: the field of the row; "" where it is the row as a whole.
        message: what is wrong.
        hint: what to do.
        check: which check found it; if not given, "row" for a row that cannot be read as it is, "file" for such a file.
    """

    file: str
    row: int | None
    field: str
    message: str
    hint: str = ""
    check: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", self.check or ("file" if self.row is None else "row"))

    @property
    def where(self) -> str:
        """The place as people read it: "train.json: row 17"."""
        return self.file if self.row is None else f"{self.file}: row {self.row}"

    def __str__(self) -> str:
        return f"{self.where}: {self.field + ': ' if self.field else ''}{self.message}"

    def briefly(self) -> str:
        """The problem with the file's name alone."""
        return str(replace(self, file=Path(self.file).name))


@dataclass(slots=True)
class Reading:
    """The contents of a data file.

    Attributes:
        path: the file.
        folder: what image names are relative to, and may not leave.
        split: split of rows that name none.
        named: whether the file's name says its split.
        wanted: what is read out of it.
        records: the sound rows.
        rows: row number of each id.
        problems: what is wrong with the others.
        left_out: rows that are not used although they were asked for, each with the reason.
        warnings: what was put right or left out, one line each.
        format: name of the format that its rows are in.
        delimiter: what separates the cells of a table stored as text.
        subfolder: folder below `folder` in which the images were found, where rows do not name it.
        content: bytes of an image by its name, for files that hold their images.
    """

    path: Path
    folder: Path
    split: str = "train"
    wanted: Wanted = TO_TRAIN_ON
    named: bool = False
    records: list[Record] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    problems: list[DataProblem] = field(default_factory=list)
    left_out: list[DataProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    format: str = ""
    delimiter: str = ","
    subfolder: str = ""
    content: Callable[[str], bytes] | None = None

    def report(self, row: int | None, name: str, message: str, hint: str = "", check: str = "") -> None:
        """Add a problem; raises TooManyProblems where the file is plainly not what it is taken for."""
        self.problems.append(DataProblem(str(self.path), row, name, message, hint, check))
        if len(self.problems) >= MOST_PROBLEMS:
            raise TooManyProblems

    def leave_out(self, problems: Sequence[DataProblem], why: str) -> None:
        """Leave out the rows that have these problems, with a warning that counts them and names the first."""
        rows = {problem.row for problem in problems}
        self.records = [record for record in self.records if self.rows[record.id] not in rows]
        self.left_out += {problem.row: problem for problem in reversed(problems)}.values()
        first = problems[0]
        left_out = count_of(len(rows), "row is", "rows are")
        self.warnings.append(f"{self.path}: {left_out} left out: {why} (row {first.row}, {first.field})")

    def leave_out_faults(self) -> None:
        """Leave out every row with a problem; a file without a sound row keeps its problems."""
        faulty = [problem for problem in self.problems if problem.row is not None]
        rows = {problem.row for problem in faulty}
        if faulty and any(self.rows[record.id] not in rows for record in self.records):
            self.problems = [problem for problem in self.problems if problem.row is None]
            self.leave_out(faulty, faulty[0].message)


def raise_all(problems: Sequence[DataProblem]) -> None:
    """Raise one DataError that shows the problems, if there are any."""
    if not problems:
        return
    first, more = problems[0], len(problems) - _SHOWN
    if len(problems) == 1:
        message = f"{first.field}: {first.message}" if first.field else first.message
        raise DataError(message, where=first.where, hint=first.hint)
    lines = [
        f"the data has {count_of(len(problems), 'problem')}",
        *(f"  {problem.briefly()}" for problem in problems[:_SHOWN]),
    ]
    lines += [f"  and {more} more, which `exgra data validate` lists"] if more > 0 else []
    raise DataError("\n".join(lines), where=first.where, hint=first.hint)


def joined(texts: Sequence[str]) -> str:
    """Several texts as one: joined by ". ", without doubling a stop that is already there."""
    stopped = [text if text.endswith((".", "!", "?")) else text + "." for text in texts[:-1]]
    return " ".join([*stopped, *texts[-1:]])


def split_name(word: str) -> str | None:
    """Our name of a split by any of its usual names ("val", "dev", ...); None for another word."""
    return _SPLIT_WORDS.get(word.strip().lower())


def kind_of(value: Any) -> str:
    """The type of a JSON value, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def half_character(text: str) -> str | None:
    """The first half of a character, written as its escape; None in a sound text."""
    found = _LONE.search(text)
    return None if found is None else f"{found[0]!a}"
