"""What texts and answers of a data set are like, and what a system gets that never looks at an image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from medmllm.data.describe import named_splits
from medmllm.data.guessing import Majority, majority_answers
from medmllm.data.people import counted
from medmllm.data.records import Record
from medmllm.data.source import Source
from medmllm.text.answers import count_answers


def stats(source: Source) -> dict[str, Any]:
    """Figures by split, as plain values for a table or JSON.

    Returns:
        `{split: {"rows", "people", "counted", "rows_a_person", "questions", "question_words", "answer_words",
        "modalities", "kinds", "answer", "guess"}}`. `counted` is "images" where no row names a person. `answer` is the
        share of the most frequent answer, and `guess` what a run calls guessing: the share that the most frequent
        training answer to the same question gets right, else that of the kind, else that of all; None without training
        rows. A kind has `rows`, `answer` and `guess`. Answers are compared as in a score.
    """
    splits = named_splits(source)
    train = splits.get("train", ())
    majority = majority_answers(train) if train else None
    return {split: _split(records, majority) for split, records in splits.items()}


def _split(records: Sequence[Record], majority: Majority | None) -> dict[str, Any]:
    people = Counter(record.person for record in records)
    kinds: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        kinds[record.kind].append(record)
    return {
        "people": len(people),
        "counted": counted(records),
        "rows_a_person": _range(list(people.values())),
        "questions": len({record.question for record in records}),
        "question_words": _range([len(record.question.split()) for record in records]),
        "answer_words": _range([len(record.answer.split()) for record in records]),
        "modalities": dict(Counter(record.modality for record in records if record.modality).most_common()),
        "kinds": {kind: _part(kinds[kind], majority) for kind in sorted(kinds)},
        **_part(records, majority),
    }


def _part(records: Sequence[Record], majority: Majority | None) -> dict[str, Any]:
    if not records:
        return {"rows": 0, "answer": None, "guess": None}
    answers = count_answers(record.answer for record in records)
    right = majority.right(records) if majority else None
    return {
        "rows": len(records),
        "answer": round(max(answers.values()) / len(records), 4),
        "guess": None if right is None else round(sum(right) / len(records), 4),
    }


def _range(numbers: Sequence[int]) -> dict[str, float]:
    return {"least": min(numbers), "median": median(numbers), "most": max(numbers)} if numbers else {}
