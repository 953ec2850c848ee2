"""What texts and answers of a data set are like, and what a system gets that never looks at an image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from medmllm.data.describe import named_splits
from medmllm.data.people import counted
from medmllm.data.records import Record
from medmllm.data.source import Source


def stats(source: Source) -> dict[str, Any]:
    """Figures by split, as plain values for a table or JSON.

    Returns:
        `{split: {"rows", "people", "counted", "rows_a_person", "questions", "question_words", "answer_words",
        "modalities", "kinds"}}`. `counted` is "images" where no row names a person. A kind has `rows`, the share of its
        most frequent `answer`, and `guess`: the share that the most frequent answer of the same kind in the training
        split gets right.
    """
    splits = named_splits(source)
    usual = _usual_answers(splits.get("train", ()))
    return {split: _split(records, usual) for split, records in splits.items()}


def _usual_answers(records: Sequence[Record]) -> dict[str, str]:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        answers[record.kind][record.answer] += 1
    return {kind: min(found.items(), key=lambda item: (-item[1], item[0]))[0] for kind, found in answers.items()}


def _split(records: Sequence[Record], usual: dict[str, str]) -> dict[str, Any]:
    people = Counter(record.person for record in records)
    kinds: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        kinds[record.kind].append(record)
    return {
        "rows": len(records),
        "people": len(people),
        "counted": counted(records),
        "rows_a_person": _range(list(people.values())),
        "questions": len({record.question for record in records}),
        "question_words": _range([len(record.question.split()) for record in records]),
        "answer_words": _range([len(record.answer.split()) for record in records]),
        "modalities": dict(Counter(record.modality for record in records if record.modality).most_common()),
        "kinds": {kind: _kind(kinds[kind], usual.get(kind)) for kind in sorted(kinds)},
    }


def _kind(records: Sequence[Record], usual: str | None) -> dict[str, Any]:
    answers = Counter(record.answer for record in records)
    return {
        "rows": len(records),
        "answer": round(answers.most_common(1)[0][1] / len(records), 4),
        "guess": round(answers[usual] / len(records), 4) if usual is not None else None,
    }


def _range(numbers: Sequence[int]) -> dict[str, float]:
    return {"least": min(numbers), "median": median(numbers), "most": max(numbers)} if numbers else {}
