"""One training or test example: an image, a conversation about it, and two texts to align."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True, slots=True)
class Record:
    """One example of a data set.

    Attributes:
        id: unique within its split.
        image: name of the image inside its source (`Source.image` opens it).
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
