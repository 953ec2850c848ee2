"""One training or test example: images, a conversation about them, and two texts to align."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One example of a data set.

    Attributes:
        id: unique within its split.
        image: name of the image inside its source (`Source.image` opens it); of several the first, of none "".
        turns: the conversation, `(question, answer)` pairs; the language model learns the answers.
        sentence: the answer as a full sentence: the *answer* view of the alignment.
        caption: the extended caption: the *caption* view of the alignment.
        kind: question type, the unit of reported accuracies ("plane", "organ present", ...).
        subject: the person the image shows; no subject is in two splits but by a split's own name.
        source: archive or file that the image came from.
        split: "train", "validation", "test" (unseen patients and subjects) or "test_slab"
            (unseen slabs of people seen in training).
        modality: how the image was made ("CT", "MRI", ...), as the data set says it; "" where it does not.
        options: answers to choose from, where the question has any.
        image_place: letters of the first question before its image, where the data file had it inside or after.
        further: names of the images after the first, in the order in which they are shown.
        marks: turn, and letters of its question before the image, for each image, where the data file says them of
            several; without them all are shown with the first question.
        answer_type: "open", "closed" or as the data says it, where it says so beside the kind; else "".
        topic: what the question is about ("Organ"), where the data says so beside the kind; else "".
        caption_missing: whether the row has no caption of its own although others of its split have; `caption` then
            holds the answers, and no *caption* view is aligned.
    """

    id: str
    image: str
    turns: tuple[tuple[str, str], ...]
    sentence: str
    caption: str
    kind: str = "open"
    subject: str = ""
    source: str = ""
    split: str = "train"
    modality: str = ""
    options: tuple[str, ...] = ()
    image_place: int = 0
    answer_type: str = ""
    topic: str = ""
    caption_missing: bool = False
    further: tuple[str, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """Names of all images, in the order in which they are shown."""
        return (self.image, *self.further) if self.image else ()

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Turn and letter of each image; of the only one as `image_place` has it."""
        return self.marks or ((0, self.image_place if not self.further else 0),) * len(self.images)

    def first_turn(self) -> Record:
        """The record without the images that only later turns bring: what its first question is asked about."""
        shown = sum(turn == 0 for turn, _ in self.places)
        if shown == len(self.images):
            return self
        names = self.images[:shown]
        return replace(self, image=names[0] if names else "", further=names[1:], marks=self.marks[:shown])

    @property
    def question(self) -> str:
        """The first question."""
        return self.turns[0][0]

    @property
    def answer(self) -> str:
        """The answer to the first question."""
        return self.turns[0][1]

    @property
    def person(self) -> str:
        """The person, or the image where no row names one: what splits keep whole and intervals draw."""
        return self.subject or self.image

    @property
    def letters(self) -> int:
        """Letters of all that is read of it, by which records are sorted by length without a tokenizer."""
        return sum(map(len, (*chain(*self.turns), self.sentence, self.caption)))


def stored_record(fields: Mapping[str, Any]) -> Record:
    """A record from its fields as JSON holds them, lists in place of tuples."""
    turns = tuple((question, answer) for question, answer in fields["turns"])
    marks = tuple((turn, letter) for turn, letter in fields.get("marks", ()))
    lists = {name: tuple(fields[name]) for name in ("options", "further") if name in fields}
    return Record(**{**fields, **lists, "turns": turns, "marks": marks})


def each_image(records: Iterable[Record]) -> list[Record]:
    """The records with one image after another as their only one, which is how a source opens them."""
    return [
        replace(record, image=name, further=(), marks=()) if record.further else record
        for record in records
        for name in record.images
    ]
