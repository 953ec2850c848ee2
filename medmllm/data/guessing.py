"""Guessing: the score without a look at the image, beside every accuracy and in the figures of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.text.answers import count_answers, most_frequent, same_answer


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

    def right(self, records: Iterable[Record]) -> list[bool]:
        """Whether the guess for each record is the true answer, as answers of a model are scored."""
        return [same_answer(self.answer(record), record.answer) for record in records]


def majority_answers(train: Iterable[Record]) -> Majority:
    """Count the training answers, as they are compared in a score: "No" and "no" are one answer.

    Ties go to the answer that comes first in the alphabet.

    Raises:
        DataError: there are no training records.
    """
    questions: defaultdict[str, list[str]] = defaultdict(list)
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    overall: list[str] = []
    for record in train:
        for answers in (questions[record.question], kinds[record.kind], overall):
            answers.append(record.answer)
    if not overall:
        raise DataError("a majority answer needs training records", hint="raise data.fraction, or check the data file")
    by_question = {question: _most(answers) for question, answers in questions.items()}
    by_kind = {kind: _most(answers) for kind, answers in kinds.items()}
    return Majority(by_question, by_kind, _most(overall))


def _most(answers: Iterable[str]) -> str:
    return most_frequent(count_answers(answers))
