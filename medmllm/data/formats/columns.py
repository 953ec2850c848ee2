"""Names that a field may have, however they are spelt, and columns that no name reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain
from math import isnan
from typing import Any


@dataclass(frozen=True, slots=True)
class Columns:
    """Names that a field may have, in order of preference; the first that a row has is read.

    Case, spaces, hyphens and underscores say nothing: `PatientID` and `Patient ID` are `patient_id`.

    Attributes:
        image, question, answer: what a row needs to train on; with a caption alone, a description is requested.
        image_root: a folder that the image's name is relative to, where a row names one.
        id: without it a row is called by its file and number.
        kind: question type; without it yes/no answers are "closed" and others "open".
        answer_type: whether the question is open or closed, where a row says that beside its kind.
        topic: what the question is about, as written; figures are reported by it, else by `kind`.
        subject: the person; without it every image counts as one.
        sentence, caption: the two text views; without them the answer serves.
        split, modality: as in a record.
        options: answers to choose from, the names of one column each.
        choices: the same in one column, as a list or by their letters.
        private: whether the texts may leave this machine.
    """

    image: tuple[str, ...] = (
        "image", "image_path", "file_name", "filename", "file", "path", "img_name", "image_name", "images", "img",
        "img_path", "image_file", "file_path", "figure_path",
    )  # fmt: skip
    image_root: tuple[str, ...] = ("img_root_dir",)
    question: tuple[str, ...] = ("question", "prompt", "query", "instruction")
    answer: tuple[str, ...] = ("answer", "gt_answer", "ground_truth", "response", "output")
    id: tuple[str, ...] = ("id", "qid", "question_id", "idx")
    kind: tuple[str, ...] = ("kind", "answer_type", "question_type", "content_type", "topic")
    answer_type: tuple[str, ...] = ("answer_type",)
    topic: tuple[str, ...] = ("topic", "kind", "question_type", "content_type", "answer_type")
    subject: tuple[str, ...] = ("subject", "patient", "patient_id", "subject_id", "mrn")
    sentence: tuple[str, ...] = ("sentence",)
    caption: tuple[str, ...] = ("caption", "text", "answer_long")
    split: tuple[str, ...] = ("split",)
    modality: tuple[str, ...] = ("modality", "modality_type", "image_type")
    options: tuple[tuple[str, ...], ...] = tuple((f"option_{one}", f"choice_{one}") for one in "ABCDE")
    choices: tuple[str, ...] = ("options", "choices")
    private: tuple[str, ...] = ("private",)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        own = (getattr(self, field.name) for field in fields(self) if field.name != "options")
        return tuple(chain.from_iterable((*own, *self.options)))


COLUMNS = Columns()

# A file of predictions: what a system said, and to which question. The first name that a row has holds the answer,
# an empty one too: a later one may be the truth, or the question.
SAID = (
    "prediction", "pred", "predicted", "predict", "predicted_answer", "pred_answer", "model_answer", "model_output",
    "model_response", "model_prediction", "generated_text", "generated", "generated_answer", "text", "response",
    "output", "answer",
)  # fmt: skip
SAID_ID = ("custom_id", "question_id", "id", "qid")


def plain(name: Any) -> str:
    """A name by which two spellings of it are equal."""
    return re.sub(r"[\s_-]", "", str(name)).casefold()


KNOWN = frozenset(map(plain, (*COLUMNS.names, *SAID, *SAID_ID)))


def first(row: Mapping[str, Any], names: tuple[str, ...], *, empty: bool = False) -> tuple[Any, str]:
    """Value and name, as the row spells it, of the first of the columns that the row has a value in.

    With `empty`, of the first column that the row has at all: its value may be None or "".
    """
    spellings = _spellings(tuple(row))
    found = (own for name in names for own in spellings.get(plain(name), ()) if empty or not is_empty(row[own]))
    name = next(found, None)
    return (None, names[0]) if name is None else (row[name], name)


_IMAGE = r"(?:image|img)(?:path|file|name)?"
_VIEW = r"(?:\d+|frontal|lateral|ap|pa|prior|previous|current|baseline|followup)"
_ONE_OF_SEVERAL = re.compile(rf"{_IMAGE}{_VIEW}|{_VIEW}{_IMAGE}|(?:image|img){_VIEW}(?:path|file|name)")


@lru_cache(maxsize=64)
def image_columns(columns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that hold one image of a row each, in their order; () where at most one column holds images.

    Example:
        >>> image_columns(("id", "image_1", "image_2", "question"), COLUMNS.image)
        ('image_1', 'image_2')
        >>> image_columns(("image", "image_prior", "image_type"), COLUMNS.image)
        ('image', 'image_prior')
    """
    several = [name for name in columns if _ONE_OF_SEVERAL.fullmatch(plain(name))]
    own = next((spelt for name in names for spelt in columns if plain(spelt) == plain(name)), None) if several else None
    return tuple(name for name in columns if name in several or name == own)


def is_empty(value: Any) -> bool:
    """Whether a cell has no value: None, "", or NaN, which pandas writes into JSON where a cell is empty."""
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and isnan(value))


def has(row: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether a row has one of the columns, with or without a value."""
    spellings = _spellings(tuple(row))
    return any(plain(name) in spellings for name in names)


@lru_cache(maxsize=64)
def _spellings(columns: tuple[str, ...]) -> dict[str, list[str]]:
    """A row's own names by their plain ones."""
    found: dict[str, list[str]] = {}
    for name in columns:
        found.setdefault(plain(name), []).append(name)
    return found


def ignored(columns: Collection[str], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Columns that no name reads, each with the name that was perhaps meant, or ""."""
    known = {plain(name): name for name in names}
    for column in columns:
        if plain(column) not in known:
            near = difflib.get_close_matches(plain(column), known, n=1, cutoff=0.85)
            yield str(column), known[near[0]] if near else ""


def ignored_line(columns: Collection[str], names: tuple[str, ...]) -> str:
    """The ignored columns as a warning names them; "" where there are none."""
    lines = [f"{name} (did you mean {near}?)" if near else name for name, near in ignored(columns, names)]
    return ", ".join(lines)
