"""Zero-shot classification: questions with options, answered by likelihood and by what the model says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from graphalign.counts import count_of
from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.evaluate import strict
from medmllm.evaluate.bootstrap import intervals_of_means
from medmllm.evaluate.exam import SILENT, Asked, Exam
from medmllm.evaluate.likelihood import likelihoods
from medmllm.evaluate.published import nearest_option
from medmllm.run.callbacks import Listener
from medmllm.text.answers import normalise

RULES = ("likelihood", "likelihood_per_token", "difflib", "named")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Points = dict[str, float]


def classify(run: Path | str, asked: Asked, *, out: Path | None = None, listener: Listener = SILENT) -> dict[str, Any]:
    """Let a model choose among the options of each question, by four rules.

    - `likelihood`: the option that is the most likely answer; `likelihood_per_token`: per token, end mark included.
    - `difflib`, as published: the model is asked with the options listed, and the option whose text is most like what
      it says is taken, however little that has to do with any.
    - `named`, strictly: what it says names the right option, by its words or its letter, and no other.

    Returns:
        `{"n", "chance", <rule>: percent, "intervals": {rule: ...}, "mean_of_sets": {rule: ...}, "by_set": {...},
        "by_modality": {...}, "by_kind": {...}}`. A set is a data file, as the 23 of OmniMedVQA that tables average;
        intervals are over people or images. Kept, and resumed after a kill, as by `evaluate`.

    Raises:
        DataError: no question has options, or a true answer is none of its options.
    """
    exam = Exam.open(run, asked, out=out, listener=listener)
    records = with_options(exam.records)
    exam = replace(exam, records=records)
    listener.message(f"{exam.model} chooses an option in {count_of(len(records), 'question')} of {exam.data}")
    spoken = replace(exam, records=[listed(record) for record in records])
    said = [sample.prediction for sample in spoken.answer(f"{asked.name}.choice", listener=listener)]
    likely = _likelihoods(exam, f"{asked.name}.likelihood", listener)
    points = [_points(*one) for one in zip(records, said, likely, strict=True)]
    told = {**choice_figures(records, points), "data": exam.data}
    if exam.place:
        rows = zip(records, said, likely, points, strict=True)
        lines = "".join(json.dumps(_line(*row), ensure_ascii=False) + "\n" for row in rows)
        exam.place.write_json(f"eval/{asked.name}.choice.json", told)
        exam.place.write_text(f"eval/{asked.name}.choice.samples.jsonl", lines)
        spoken.done(f"{asked.name}.choice")
        exam.done(f"{asked.name}.likelihood")
    return told


def with_options(records: Sequence[Record]) -> list[Record]:
    """The records that have options, each of which holds the true answer once."""
    chosen = [record for record in records if record.options]
    if not chosen:
        hint = "give data with option_A, option_B, ... as OmniMedVQA has them, with --data"
        raise DataError("no question has options to choose from", hint=hint)
    bad = [r.id for r in chosen if sum(normalise(option) == normalise(r.answer) for option in r.options) != 1]
    if bad:
        count = count_of(len(bad), "question has", "questions have")
        told = f"{count} no option equal to the true answer, or several: {', '.join(bad[:20])}"
        raise DataError(told, hint="exgra data validate shows the rows")
    return chosen


def listed(record: Record) -> Record:
    """The record with its options in the question."""
    question = f"{record.question} Answer with one of these: {'; '.join(record.options)}."
    return replace(record, turns=((question, record.answer), *record.turns[1:]))


def named_options(said: str, options: Sequence[str]) -> list[int]:
    """The options that a text names as whole words or by letter; one inside a longer one that is named does not count.

    Example:
        >>> named_options("CT angiography", ["CT", "CT angiography", "MRI"]), named_options("B.", ["CT", "MRI"])
        ([1], [1])
    """
    spoken = strict.words(said)
    if len(spoken) == 1 and spoken[0] in LETTERS[: len(options)]:
        return [LETTERS.index(spoken[0])]
    named = [i for i, option in enumerate(options) if strict.closed_hit(said, option)]
    inside = {i for i in named for j in named if i != j and strict.closed_hit(options[j], options[i])}
    return [i for i in named if i not in inside]


def choice_figures(records: Sequence[Record], points: Sequence[Points]) -> dict[str, Any]:
    """Accuracies of all, of each set, modality and kind of question."""
    sets = _parts(records, points, lambda record: Path(record.source).stem)
    by_set = {name: _figures(*part) for name, part in sets.items()}
    parts = {"by_modality": lambda record: record.modality, "by_kind": lambda record: record.kind}
    return {
        **_figures(records, points),
        "mean_of_sets": {rule: fmean(part[rule] for part in by_set.values()) for rule in RULES},
        "by_set": by_set,
        **{
            name: {part: _figures(*found) for part, found in _parts(records, points, key).items()}
            for name, key in parts.items()
        },
    }


def _likelihoods(exam: Exam, name: str, listener: Listener) -> list[dict[str, list[float]]]:
    """For each record `{rule: values of its options}`, kept in a file of their own as they come."""
    file = exam.file(name)
    texts = file.resume() if file else []
    for start in range(len(texts), len(exam.records), exam.batch_size):
        batch = exam.records[start : start + exam.batch_size]
        found = [likelihoods(exam.llava, exam.asker, [record])[0] for record in batch]
        values = [{RULES[0]: [one.total for one in row], RULES[1]: [one.per_token for one in row]} for row in found]
        more = [json.dumps(value) for value in values]
        if file:
            file.append(start, more)
        texts += more
        listener.answered(len(texts), len(exam.records))
    return [json.loads(text) for text in texts]


def _points(record: Record, said: str, likely: dict[str, list[float]]) -> Points:
    true = [normalise(option) for option in record.options].index(normalise(record.answer))
    chosen = {rule: values.index(max(values)) for rule, values in likely.items()}
    chosen["difflib"] = nearest_option(said, record.options)
    return {rule: float(one == true) for rule, one in chosen.items()} | {
        "named": float(named_options(said, record.options) == [true])
    }


def _figures(records: Sequence[Record], points: Sequence[Points]) -> dict[str, Any]:
    table = np.array([[one[rule] for rule in RULES] for one in points])
    found = intervals_of_means([record.person for record in records], table, scale=100, top=100.0)
    return {
        "n": len(records),
        "chance": 100 * fmean(1 / len(record.options) for record in records),
        **{rule: 100 * float(table[:, i].mean()) for i, rule in enumerate(RULES)},
        "intervals": dict(zip(RULES, found or [[0.0, 100.0]] * len(RULES), strict=True)),
    }


def _parts(
    records: Sequence[Record], points: Sequence[Points], key: Callable[[Record], str]
) -> dict[str, tuple[list[Record], list[Points]]]:
    parts: defaultdict[str, tuple[list[Record], list[Points]]] = defaultdict(lambda: ([], []))
    for record, one in zip(records, points, strict=True):
        if key(record):
            parts[key(record)][0].append(record)
            parts[key(record)][1].append(one)
    return dict(sorted(parts.items()))


def _line(record: Record, said: str, likely: dict[str, list[float]], points: Points) -> dict[str, Any]:
    names = {"id": record.id, "image": record.image, "question": record.question, "answer": record.answer}
    more = {"options": list(record.options), "prediction": said, **likely, "right": points}
    return {**names, **more, "kind": record.kind, "modality": record.modality, "source": record.source}
