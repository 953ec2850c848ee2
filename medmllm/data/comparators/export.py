"""From any data set to the input files of another system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.captions.private import find_mark
from medmllm.data.comparators.biomedgpt import write_biomedgpt
from medmllm.data.comparators.questions import QUESTIONS, Pictures, Question, write_questions
from medmllm.data.comparators.radfm import write_radfm
from medmllm.data.describe import named_splits
from medmllm.data.records import Record
from medmllm.data.source import Source
from medmllm.errors import ConfigError, did_you_mean

SYSTEMS: dict[str, Callable[[Path, Mapping[str, Sequence[Question]], Path], list[str]]] = {
    "radfm": write_radfm,
    "biomedgpt": write_biomedgpt,
}


def export_data(source: Source, out: Path, layout: str, *, split: str | None = None) -> dict[str, Any]:
    """Write the questions of a data set for another system, and beside them for this one.

    `questions/` becomes a data set of numbered questions and PNG images, which every system is asked and scored by;
    the files of the other system are beside it. The folder is written aside and moved into place. Only the first
    question of a conversation is asked.

    Args:
        source: the data set.
        out: a new folder.
        layout: "radfm" or "biomedgpt".
        split: one split alone; without it all that the data names.

    Returns:
        `{"folder", "format", "rows": {split: rows}, "files", "warnings"}`.

    Raises:
        ConfigError: the folder exists, or there is no such layout or split.
        DataError: an image cannot be read, or a text cannot be written in that layout.
    """
    if layout not in SYSTEMS:
        hint = did_you_mean(layout, SYSTEMS, f"one of {', '.join(SYSTEMS)}")
        raise ConfigError(f"{layout!r} is not a layout of another system", where="--format", hint=hint)
    if out.exists():
        raise ConfigError(f"{out} exists already, and nothing is overwritten", where="OUT", hint=f"use {out}-2")
    splits = _chosen(named_splits(source), split)
    out = out.absolute()
    shutil.rmtree(part := out.with_name(f".{out.name}.part"), ignore_errors=True)
    try:
        (part / QUESTIONS / "images").mkdir(parents=True)
        if mark := find_mark(source):
            (part / QUESTIONS / "PRIVATE").write_text(f"{mark.why}: {mark.where}\n", encoding="utf-8")
        pictures = Pictures(source, part / QUESTIONS)
        questions = {name: write_questions(pictures, name, records) for name, records in splits.items()}
        warnings = [*_further(splits), *SYSTEMS[layout](part, questions, out)]
        files = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if _is_table(path))
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    rows = {name: len(records) for name, records in splits.items()}
    return {"folder": str(out), "format": layout, "rows": rows, "files": files, "warnings": warnings}


def _chosen(splits: dict[str, tuple[Record, ...]], split: str | None) -> dict[str, tuple[Record, ...]]:
    if split is None:
        return splits
    if split not in splits:
        hint = did_you_mean(split, splits, f"one of {', '.join(splits)}")
        raise ConfigError(f"the data set has no split {split!r}", where="--split", hint=hint)
    return {split: splits[split]}


def _further(splits: Mapping[str, Sequence[Record]]) -> list[str]:
    """Return a warning that counts conversations, of which only the first question is asked."""
    longer = sum(len(record.turns) > 1 for records in splits.values() for record in records)
    return [f"{count_of(longer, 'row has', 'rows have')} further questions, which are not asked"] if longer else []


def _is_table(path: Path) -> bool:
    return path.suffix in (".csv", ".tsv", ".jsonl", ".json", ".pkl")
