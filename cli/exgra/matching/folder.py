"""What `exgra match` leaves behind: tables for people and programs, never over something that is there."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphalign.files.pairing import Pairing
from medmllm.errors import ConfigError

HEAD = ("row", "column", "row_id", "column_id", "score", "mass", "mutual", "margin")


def check_free(folder: Path) -> None:
    """Refuses a folder that holds something. Creates nothing."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        say = f"{folder} exists already, and nothing is overwritten"
        raise ConfigError(say, where="--out", hint=f"choose another folder: --out {folder}-2")


def write_pairing(folder: Path, pairing: Pairing, truth: np.ndarray | None) -> None:
    """Write `matching.csv` and `scores.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "scores.npy", pairing.scores)
    with (folder / "matching.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*HEAD, *(["right"] if truth is not None else [])])
        table.writerows(lines(pairing, truth))


def lines(pairing: Pairing, truth: np.ndarray | None) -> list[list[object]]:
    """A line for each pair, as `matching.csv` holds it."""
    out: list[list[object]] = []
    for number, (row, column) in enumerate(zip(pairing.rows.tolist(), pairing.columns.tolist(), strict=True)):
        ids = pairing.first.ids[row], pairing.second.ids[column]
        figures = pairing.scores[row, column], pairing.mass[number], pairing.margin[number]
        score, mass, margin = (f"{figure:.6g}" for figure in figures)
        line = [row, column, *ids, score, mass, str(bool(pairing.mutual[number])).lower(), margin]
        out.append([*line, *([str(bool(truth[row] == column)).lower()] if truth is not None else [])])
    return out


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`, last of all: where it is, the rest is whole."""
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
