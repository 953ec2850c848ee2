"""The contents of a data set, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from medmllm.data.file_source import FileSource
from medmllm.data.formats.registry import split_of_file
from medmllm.data.records import Record
from medmllm.data.source import Source
from medmllm.text.answers import count_answers

_ANSWERS = 10  # most frequent answers shown of each kind


def describe_data(source: Source) -> dict[str, Any]:
    """Counts of a data set as plain values for a table or JSON.

    Returns:
        `{"splits": {split: {"rows", "subjects", "images", "sources", "kinds", "caption_words", "sentence_words"}},
        "warnings", "attribution", "files"}`; lengths are in words, and `kinds` gives rows, the number of different
        answers, as a score compares them, and the ten most frequent of them.
    """
    return {
        "splits": {split: _split(records) for split, records in named_splits(source).items()},
        "warnings": list(source.warnings),
        "attribution": source.attribution,
        "files": source.files(),
    }


def named_splits(source: Source) -> dict[str, tuple[Record, ...]]:
    """Records by the splits that the data names.

    A lone file that is called after a split, as in `test.json`, is of that split, whole. Where the data names no split
    for validation, or none at all, the splits are those of training.
    """
    if isinstance(source, FileSource):
        name = split_of_file(source.path) if source.alone else None
        if name and source.own in (("train",), ("test",)):
            whole = (
                record for split in dict.fromkeys((*source.own, *source.made[:1])) for record in source.records(split)
            )
            return {name: tuple(sorted(whole, key=lambda record: source.place(record)[1]))}
        if not source.made:
            return {split: source.records(split) for split in source.splits if split in source.own}
    return {split: source.records(split) for split in source.splits}


def _split(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "rows": len(records),
        "subjects": len({record.person for record in records}),
        "images": len({name for record in records for name in record.images}),
        "sources": dict(Counter(record.source for record in records).most_common()),
        "kinds": {kind: _kind(records, kind) for kind in sorted({record.kind for record in records})},
        "caption_words": _lengths([record.caption for record in records]),
        "sentence_words": _lengths([record.sentence for record in records]),
    }


def _kind(records: Sequence[Record], kind: str) -> dict[str, Any]:
    answers = count_answers(record.answer for record in records if record.kind == kind)
    return {"rows": answers.total(), "different_answers": len(answers), "answers": dict(answers.most_common(_ANSWERS))}


def _lengths(texts: Sequence[str]) -> dict[str, float]:
    counts = [len(text.split()) for text in texts]
    return {"least": min(counts), "median": median(counts), "most": max(counts)} if counts else {}
