"""Whether a matching on held-out rows says anything: where all pairs are right, every matching is perfect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALL = 0.9995  # written as 100.0 %
WHY_NOT = "not measurable: the held-out rows of a graph have the same caption, or answer where captions are missing"


def measurable(chance: float) -> bool:
    """Whether a random matching is ever wrong; `chance` is the share that it gets right."""
    return chance < _ALL


def without_chance(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a validation, without a matching accuracy that says nothing."""
    told = dict(figures)
    if not measurable(told.get("matching_chance", 0.0)):
        told.pop("matching_accuracy", None)
    return told
