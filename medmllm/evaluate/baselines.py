"""Scores without looking at the image: the baselines beside every accuracy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from medmllm.data.records import Record
from medmllm.errors import DataError


@dataclass(frozen=True, slots=True)
class Majority:
    """Answers every question by what was most often right in training, blind to the image.

    Attributes:
        by_question: most frequent answer to each question text.
        by_kind: most frequent answer of each kind, for questions that training did not have.
        overall: most frequent answer of all, for kinds that training did not have.
    """

    by_question: dict[str, str]
    by_kind: dict[str, str]
    overall: str

    def answer(self, record: Record) -> str:
        """The guess for a record; only its question and kind are examined."""
        return self.by_question.get(record.question) or self.by_kind.get(record.kind, self.overall)


def majority_answers(train: Iterable[Record]) -> Majority:
    """Count the training answers. Ties go to the answer that comes first in the alphabet.

    Raises:
        DataError: there are no training records.
    """
    questions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for record in train:
        for counts in (questions[record.question], kinds[record.kind], overall):
            counts[record.answer] += 1
    if not overall:
        raise DataError("a majority answer needs training records", hint="raise data.fraction, or check the data file")
    by_question = {question: _most(counts) for question, counts in questions.items()}
    by_kind = {kind: _most(counts) for kind, counts in kinds.items()}
    return Majority(by_question, by_kind, _most(overall))


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer))
