"""What every system is asked: numbered questions, and their images as PNG, all the same for each of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from medmllm.data.people import names_person
from medmllm.data.records import Record
from medmllm.data.scans.address import address
from medmllm.data.source import Source

QUESTIONS = "questions"  # folder of the questions, which is a data set of its own
_IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a split.

    Attributes:
        id: a whole number as text, the same for every system.
        record: where it is from.
        images: names of its images below the folder of the questions.
        volumes: the same images by scan: the slices of one volume together, any other image alone.
    """

    id: str
    record: Record
    images: tuple[str, ...]
    volumes: tuple[tuple[str, ...], ...]


@dataclass
class Pictures:
    """Writes each image once, as PNG, and remembers its name.

    Attributes:
        source: opens the images.
        folder: the folder of the questions.
    """

    source: Source
    folder: Path
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def write(self, record: Record, image: str) -> str:
        """The name, below the folder, of one image of a record."""
        key = (record.split, image)
        if key not in self.names:
            name = f"{_IMAGES}/{len(self.names) + 1:06d}.png"
            self.source.image(replace(record, image=image, further=(), marks=())).save(self.folder / name)
            self.names[key] = name
        return self.names[key]


def number_records(records: Sequence[Record]) -> dict[str, str]:
    """A whole number for every id: the ids themselves where all are such, else 1, 2, 3, ..."""
    if all(_is_number(record.id) for record in records):
        return {record.id: record.id for record in records}
    return {record.id: str(number) for number, record in enumerate(records, start=1)}


def write_questions(pictures: Pictures, split: str, records: Sequence[Record]) -> list[Question]:
    """Write `<split>.jsonl`, which every system's answers are scored against, and the images.

    Where the data's ids are not whole numbers, `<split>.ids.json` says which number is which of them.
    """
    numbers = number_records(records)
    questions = [_question(pictures, numbers[record.id], record) for record in records]
    rows = (json.dumps(_row(question), ensure_ascii=False) + "\n" for question in questions)
    (pictures.folder / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
    if any(number != name for name, number in numbers.items()):
        told = {number: name for name, number in numbers.items()}
        (pictures.folder / f"{split}.ids.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return questions


def image_names(record: Record) -> tuple[str, ...]:
    """The images of a record's first question, in their order."""
    return record.first_turn().images


def by_volume(names: Sequence[str]) -> list[list[str]]:
    """Images by scan, in the order of their first ones: slices of one volume in one plane together."""
    groups: dict[object, list[str]] = {}
    for place, name in enumerate(names):
        found = address(name)
        sliced = found.index is not None
        groups.setdefault(replace(found, index=None) if sliced else place, []).append(name)
    return list(groups.values())


def load_picture(folder: Path, name: str) -> Image.Image:
    """One of the written images, in RGB."""
    with Image.open(folder / name) as picture:
        return picture.convert("RGB")


def one_line(text: str) -> str:
    """A text with a space for each tab and line end, which would tear a table apart."""
    return " ".join(text.split()) if any(letter in text for letter in "\t\r\n") else text


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def _question(pictures: Pictures, number: str, record: Record) -> Question:
    names = {name: pictures.write(record, name) for name in image_names(record)}
    volumes = tuple(tuple(names[name] for name in group) for group in by_volume(image_names(record)))
    return Question(number, record, tuple(names[name] for name in image_names(record)), volumes)


def _row(question: Question) -> dict[str, Any]:
    """A question as this project reads it."""
    record = question.record
    images = {"images": list(question.images)} if len(question.images) > 1 else {"image": question.images[0]}
    told = {"id": question.id, **images, "question": record.question, "answer": record.answer}
    more = {name: getattr(record, name) for name in ("kind", "answer_type", "modality", "topic")}
    options = {"options": list(record.options)} if record.options else {}
    person = {"subject": record.subject} if names_person(record) else {}
    return told | person | {name: value for name, value in more.items() if value} | options
