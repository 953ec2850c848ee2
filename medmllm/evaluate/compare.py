"""Is one system better than another? A paired test on the questions that both were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medmllm.errors import DataError
from medmllm.evaluate.bootstrap import Array
from medmllm.evaluate.report import AVERAGE, COLUMNS, HALVES, METRICS, Scored, totals
from medmllm.evaluate.statistics import compare, holm


def compare_systems(first: Sequence[Scored], second: Sequence[Scored]) -> dict[str, Any]:
    """The first system minus the second, metric by metric, by a paired bootstrap over people or images.

    One run each: `medmllm.evaluate.statistics.compare` with a single seed, whose examples are the people or images that
    the questions are about. It says nothing about other seeds of the same training.

    Args:
        first: answers of a system with their points.
        second: answers of the other one to the same questions, in any order.

    Returns:
        `{column: {metric: {"difference", "low", "high", "p", "p_holm", "visible", "examples", ...}}}` in percentage
        points; `visible` is the smallest true difference that would be found with a power of 80 %, `examples` counts
        people or images, `p_holm` allows for all metrics of the table being examined, and `capped` says that an end of
        the interval is the largest possible difference, `few` that fewer than six people or images were compared, whose
        p cannot be below 0.05. None where fewer than two have a metric. Where `equal` is true,
        nobody's points differ: nothing says how sure that is, and interval, p and `visible` are None.

    Raises:
        DataError: the questions or their true answers differ.
    """
    second = _in_order(first, second)
    told = {column: {name: _metric(first, second, column, name) for name in _named(column)} for column in COLUMNS}
    known = [one for metrics in told.values() for one in metrics.values() if one]
    for one, raised in zip(known, holm([1.0 if one["equal"] else one["p"] for one in known]), strict=True):
        one["p_holm"] = None if one["equal"] else raised
    return told


def _named(column: str) -> tuple[str, ...]:
    return (AVERAGE, *METRICS[column])


def _metric(first: Sequence[Scored], second: Sequence[Scored], column: str, name: str) -> dict[str, Any] | None:
    names = HALVES if name == AVERAGE else (name,)
    if not all(any(part in s.points(column) for s in side) for part in names for side in (first, second)):
        return None
    one, other = (_by_cluster(side, column, names) for side in (first, second))
    if len(one) < 2:
        return None
    found = compare(one[None], other[None], largest=100.0).to_dict()
    return {key: value for key, value in found.items() if key != "seeds"}


def _by_cluster(scored: Sequence[Scored], column: str, names: Sequence[str]) -> Array:
    """A value of each person or image whose plain mean is the metric in percent (the mean of several metrics)."""
    sums, counts = totals(scored, column, names)
    return 100 * (sums * (len(sums) / counts.sum(0))).mean(1)


def _in_order(first: Sequence[Scored], second: Sequence[Scored]) -> list[Scored]:
    """The second system's points in the order of the first's questions, beside the first's people and images."""
    other = {_key(s): s for s in second}
    keys = [_key(s) for s in first]
    lacking = [key[0] for key in keys if key not in other]
    if lacking or len(other) != len(keys) or len(second) != len(other):
        told = f", for example {lacking[0]}" if lacking else ""
        hint = "compare answers to the same file, split and limit"
        raise DataError(f"the two systems were not asked the same {len(keys)} questions{told}", hint=hint)
    return [Scored(s.item, other[key].published, other[key].strict) for s, key in zip(first, keys, strict=True)]


def _key(scored: Scored) -> tuple[str, str, str]:
    return scored.item.id, scored.item.question, scored.item.reference
