"""Names that a field may have, whichever way they are written, and columns that are read by no name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain
from typing import Any

PERSON = ("subject", "patient", "patient_id", "subject_id", "mrn")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names that a field may have, in order of preference; the first that a row has is read.

    Case, spaces, hyphens and underscores say nothing: `PatientID` and `Patient ID` are `patient_id`.

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
    subject: tuple[str, ...] = PERSON
    sentence: tuple[str, ...] = ("sentence",)
    caption: tuple[str, ...] = ("caption", "text", "answer_long")
    split: tuple[str, ...] = ("split",)
    modality: tuple[str, ...] = ("modality", "modality_type")
    options: tuple[str, ...] = ("option_A", "option_B", "option_C", "option_D")

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(chain.from_iterable(getattr(self, field.name) for field in fields(self)))


def plain(name: Any) -> str:
    """A name by which two spellings of it are equal."""
    return re.sub(r"[\s_-]", "", str(name)).casefold()


def first(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, str]:
    """Value and name, as the row spells it, of the first of the columns that the row has."""
    spellings = _spellings(tuple(row))
    found = (own for name in names for own in spellings.get(plain(name), ()) if row[own] not in (None, ""))
    name = next(found, None)
    return (None, names[0]) if name is None else (row[name], name)


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


def told(columns: Collection[str], names: tuple[str, ...]) -> str:
    """The ignored columns as a warning names them; "" where there are none."""
    lines = [f"{name} (did you mean {near}?)" if near else name for name, near in ignored(columns, names)]
    return ", ".join(lines)
