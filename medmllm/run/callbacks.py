"""Who hears how a run goes: the command line draws a bar from it, a test counts steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Listener:
    """Hears how a run goes; the default says nothing."""

    def message(self, text: str) -> None:
        """A sentence worth showing."""

    def begun(self, step: int) -> None:
        """Training begins after this step; `metrics.jsonl` holds the figures up to it."""

    def step(self, step: int, total: int, metrics: Mapping[str, Any]) -> None:
        """A step is done."""

    def validated(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A validation is done."""

    def answered(self, count: int, total: int) -> None:
        """So many of the questions of an evaluation are answered."""
