"""The contents of a data set, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from medmllm.data.records import Record
from medmllm.data.sources import Source

_ANSWERS = 10  # most frequent answers shown of each kind


def describe_data(source: Source) -> dict[str, Any]:
    """Counts of a data set as plain values for a table or JSON.

    Returns:
        `{"splits": {split: {"rows", "subjects", "images", "sources", "kinds", "caption_words", "sentence_words"}},
        "warnings", "attribution", "files"}`; lengths are in words, and `kinds` gives rows, the number of different
        answers, and the ten most frequent of them.
    """
    return {
        "splits": {split: _split(source.records(split)) for split in source.splits},
        "warnings": list(source.warnings),
        "attribution": source.attribution,
        "files": source.files(),
    }


def _split(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "rows": len(records),
        "subjects": len({record.person for record in records}),
        "images": len({record.image for record in records}),
        "sources": dict(Counter(record.source for record in records).most_common()),
        "kinds": {kind: _kind(records, kind) for kind in sorted({record.kind for record in records})},
        "caption_words": _lengths([record.caption for record in records]),
        "sentence_words": _lengths([record.sentence for record in records]),
    }


def _kind(records: Sequence[Record], kind: str) -> dict[str, Any]:
    answers = Counter(record.answer for record in records if record.kind == kind)
    return {"rows": answers.total(), "different_answers": len(answers), "answers": dict(answers.most_common(_ANSWERS))}


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    counts = [len(text.split()) for text in texts]
    return {"least": min(counts), "median": median(counts), "most": max(counts)} if counts else {}
