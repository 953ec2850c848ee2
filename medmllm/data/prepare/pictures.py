"""A picture as the build sees it: pixels, facts that hold of it, and questions it can answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement about a picture, in several wordings; `topic` is the question kind it answers, if any."""

    topic: str
    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question kind, the structure it asks about (or nothing), and the answer."""

    kind: str
    answer: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the data set before its questions are chosen.

    Attributes:
        name: file name without its suffix, unique.
        pixels: uint8 (112, 112).
        subject, source, split: as in the records.
        facts: statements for captions.
        questions: candidates; `balance.choose` takes some.
        general: keys of `anatomy.GENERAL` that fit the picture.
    """

    name: str
    pixels: NDArray[np.uint8]
    subject: str
    source: str
    split: str
    facts: tuple[Fact, ...]
    questions: tuple[Question, ...]
    general: tuple[str, ...]
