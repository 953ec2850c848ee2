"""From answers to figures: published and strict columns side by side, with intervals, by kind and by modality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmllm.evaluate import published, strict
from medmllm.evaluate.bootstrap import Array, cluster_totals, percentiles, resampled_means
from medmllm.evaluate.items import Item

COLUMNS = ("published", "strict")
AVERAGE, HALVES = "average", ("open_recall", "closed_accuracy")
METRICS = {
    "published": (*HALVES, "precision", "f1", "exact_match", "open_accuracy"),
    "strict": (*HALVES, "precision", "f1", "exact_match", "exact_match_all", "bleu1", "bleu4"),
}
Points = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer and the share of a point that it gets by each metric that its question counts for.

    Attributes:
        item: question, true answer and answer.
        published: name of the metric to points, as published scripts count.
        strict: the same, counted strictly.
    """

    item: Item
    published: Points
    strict: Points

    def points(self, column: str) -> Points:
        """The points of a column; of both average's halves, a question counts for one."""
        return self.published if column == "published" else self.strict


def score_items(items: Sequence[Item], candidates: Sequence[str] | None = None) -> list[Scored]:
    """Every answer with its points.

    Args:
        items: questions with true answers and what a system said.
        candidates: all answers that an open question may have; with them, open accuracy is among the published points.
    """
    return [Scored(item, published_points(item, candidates), strict_points(item)) for item in items]


def published_points(item: Item, candidates: Sequence[str] | None = None) -> Points:
    """Scores of an answer by the published scripts."""
    said, true = item.prediction, item.reference
    if item.closed:
        return {"closed_accuracy": published.closed_hit(said, true)}
    recall, precision, f1 = published.word_scores(said, true)
    points = {"open_recall": recall, "precision": precision, "f1": f1, "exact_match": published.exact_match(said, true)}
    return (
        points if candidates is None else {**points, "open_accuracy": published.open_accuracy(said, true, candidates)}
    )


def strict_points(item: Item) -> Points:
    """Scores of an answer; see `medmllm.evaluate.strict`."""
    said, true = item.said, item.reference
    whole = strict.exact_match(said, true)
    if item.closed:
        return {"closed_accuracy": strict.closed_hit(said, true), "exact_match_all": whole}
    recall, precision, f1 = strict.word_scores(said, true)
    points = {"open_recall": recall, "precision": precision, "f1": f1, "exact_match": whole, "exact_match_all": whole}
    return {**points, "bleu1": strict.bleu(said, true, order=1), "bleu4": strict.bleu(said, true)}


def score_report(scored: Sequence[Scored], *, seed: int = 0) -> dict[str, Any]:
    """All figures of a list of answers, in percent.

    Args:
        scored: answers with their points, from `score_items`.
        seed: of the bootstrap.

    Returns:
        `{"published": {...}, "strict": {...}, "intervals": {"published": {...}, "strict": {...}}, "refusals": {...},
        "by_kind": {kind: {"published", "strict", "intervals"}}, "by_modality": {...}}`; a figure without questions
        is None. docs/evaluation.md explains each.
    """
    kinds, modalities = _parts(scored, lambda item: item.kind), _parts(scored, lambda item: item.modality)
    return {
        **score_figures(scored, seed=seed),
        "refusals": refusals(scored),
        "by_kind": {name: score_figures(part, seed=seed) for name, part in kinds.items()},
        "by_modality": {name: score_figures(part, seed=seed) for name, part in modalities.items()},
    }


def score_figures(scored: Sequence[Scored], *, seed: int = 0) -> dict[str, Any]:
    """Both columns and their intervals over one list of answers."""
    told = {column: {**means(scored, column), **_counts(scored)} for column in COLUMNS}
    told["published"]["closed_accuracy_pathvqa"] = _as_pathvqa(scored)
    return {**told, "intervals": {column: intervals(scored, column, seed=seed) for column in COLUMNS}}


def means(scored: Sequence[Scored], column: str) -> dict[str, float | None]:
    """Mean points of each metric in percent, summed in the order of the answers, and the average of both halves."""
    values = {name: [points[name] for s in scored if name in (points := s.points(column))] for name in METRICS[column]}
    found = {name: sum(known) / len(known) * 100 if known else None for name, known in values.items()}
    opened, closed = (found[name] for name in HALVES)
    return {**found, AVERAGE: None if opened is None or closed is None else (opened + closed) / 2}


def intervals(scored: Sequence[Scored], column: str, *, seed: int = 0) -> dict[str, list[float] | None]:
    """Intervals of 95 % in percent by a bootstrap over people or images, [0, 100] where all answers are about one."""
    names = [name for name in METRICS[column] if any(name in s.points(column) for s in scored)]
    both = set(HALVES) <= set(names)
    told: dict[str, list[float] | None] = dict.fromkeys((*METRICS[column], AVERAGE))
    if not names:
        return told
    sums, counts = totals(scored, column, names)
    if len(sums) < 2:
        return told | {name: [0.0, 100.0] for name in [*names, *([AVERAGE] if both else [])]}
    drawn = dict(zip(names, 100 * resampled_means(sums, counts, seed=seed).T, strict=True))
    if both:
        drawn[AVERAGE] = (drawn[HALVES[0]] + drawn[HALVES[1]]) / 2
    return told | {name: percentiles(values, len(sums), top=100.0) for name, values in drawn.items()}


def totals(scored: Sequence[Scored], column: str, names: Sequence[str]) -> tuple[Array, Array]:
    """Points and numbers of answers of each person or image, `(clusters, metrics)`."""
    points = [[s.points(column).get(name, np.nan) for name in names] for s in scored]
    return cluster_totals([s.item.cluster or f"question {s.item.id}" for s in scored], points)


def refusals(scored: Sequence[Scored]) -> dict[str, Any]:
    """How often no answer is given, and how right the rest is.

    Right are strict hits of closed and exact matches of open questions. Over all questions a refusal is wrong; over
    those answered it is left out: a system that knows what it does not know is clearly better there.
    """
    right = [s.strict["closed_accuracy" if s.item.closed else "exact_match"] for s in scored]
    refused = [strict.is_refusal(s.item.prediction) for s in scored]
    answered = [value for value, none in zip(right, refused, strict=True) if not none]
    return {
        "refused": sum(refused),
        "empty": sum(not s.item.prediction.strip() for s in scored),
        "coverage": _percent(len(answered), len(scored)),
        "accuracy": _percent(sum(right), len(right)),
        "accuracy_answered": _percent(sum(answered), len(answered)),
    }


def _percent(part: float, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _counts(scored: Sequence[Scored]) -> dict[str, int]:
    closed = sum(s.item.closed for s in scored)
    return {"n_open": len(scored) - closed, "n_closed": closed}


def _as_pathvqa(scored: Sequence[Scored]) -> float | None:
    closed = [s.item for s in scored if s.item.closed]
    found = published.pathvqa_closed([item.prediction for item in closed], [item.reference for item in closed])
    return None if found is None else 100 * found


def _parts(scored: Sequence[Scored], key: Callable[[Item], str]) -> dict[str, list[Scored]]:
    """The answers by the value of a field; those without a value are in no part."""
    parts: defaultdict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        if key(one.item):
            parts[key(one.item)].append(one)
    return dict(sorted(parts.items()))
