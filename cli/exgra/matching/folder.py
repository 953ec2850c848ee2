"""What `exgra match` leaves behind: tables for people and programs, never over something that is there."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphalign.files.constraints import candidates
from graphalign.files.pairing import Pairing
from graphalign.files.truth import ALONE
from graphalign.solvers.pair_scores import PairScores
from medmllm.errors import ConfigError
from medmllm.text.escaping import csv_cell

PAIRS, ROWS = 65_536, 256  # written at a time
HEAD = ("row", "column", "row_id", "column_id", "score", "mass", "mutual", "margin")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something. Create nothing."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        say = f"{folder} exists already, and nothing is overwritten"
        raise ConfigError(say, where="--out", hint=f"choose another folder: --out {folder}-2")


def write_pairing(
    folder: Path, pairing: Pairing, truth: np.ndarray | None, table: str = "csv", seeds: np.ndarray | None = None
) -> None:
    """Write `matching.csv` or `matching.parquet`, some pairs at a time; seeds, where there are some, are marked."""
    folder.mkdir(parents=True, exist_ok=True)
    if table == "parquet":
        write_parquet(folder / "matching.parquet", pairing, truth, seeds)
        return
    with (folder / "matching.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        more = {"right": truth, "seed": seeds}
        writer.writerow([*HEAD, *(name for name, given in more.items() if given is not None)])
        for part in parts(pairing):
            writer.writerows([map(csv_cell, line) for line in lines(columns_of(pairing, truth, part, seeds))])


def write_parquet(path: Path, pairing: Pairing, truth: np.ndarray | None, seeds: np.ndarray | None) -> None:
    import pyarrow
    import pyarrow.parquet

    writer = None
    for part in parts(pairing):
        columns = columns_of(pairing, truth, part, seeds)
        # a part in which no truth is known would have a column of another type
        batch = pyarrow.table(
            {k: pyarrow.array(x, pyarrow.bool_() if k == "right" else None) for k, x in columns.items()}
        )
        writer = writer or pyarrow.parquet.ParquetWriter(path, batch.schema)
        writer.write_table(batch)
    if writer is not None:
        writer.close()


def write_candidates(path: Path, pairing: Pairing, count: int, forbidden: torch.Tensor | None) -> None:
    """Write the best candidates of each row, a line each, and which of them it was matched with."""
    partner = np.full(len(pairing.first.x), -1)
    partner[pairing.rows] = pairing.columns
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "rank", "column", "row_id", "column_id", "score", "matched"])
        for row, columns, scores in candidates(pairing.scores, count, forbidden):
            for rank, (column, score) in enumerate(zip(columns.tolist(), scores.tolist(), strict=True), 1):
                ids = pairing.first.ids[row], pairing.second.ids[column]
                matched = str(bool(partner[row] == column)).lower()
                writer.writerow(map(csv_cell, [row, rank, column, *ids, f"{score:.6g}", matched]))


def write_scores(path: Path, scores: PairScores) -> None:
    """Write the table of all scores, some rows at a time."""
    n, m = scores.shape
    kind = np.dtype(np.float64 if scores.dtype.itemsize == 8 else np.float32)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(n, m))
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and would end the process below
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    for top in range(0, n, ROWS):
        table[top : top + ROWS] = scores.block(torch.arange(top, min(top + ROWS, n)), 0, m).numpy()
    table.flush()


def parts(pairing: Pairing) -> Iterator[slice]:
    """The pairs, some at a time; an empty part where there are none."""
    for first in range(0, max(len(pairing.rows), 1), PAIRS):
        yield slice(first, first + PAIRS)


def columns_of(
    pairing: Pairing, truth: np.ndarray | None, part: slice, seeds: np.ndarray | None = None
) -> dict[str, list[Any]]:
    """Some pairs as columns by name, in the order of `HEAD`."""
    rows, columns = pairing.rows[part], pairing.columns[part]
    ids = [pairing.first.ids[row] for row in rows], [pairing.second.ids[column] for column in columns]
    figures = [x[part].tolist() for x in (pairing.score, pairing.mass, pairing.mutual, pairing.margin)]
    if not pairing.judged:
        figures[2:] = [[None] * len(rows)] * 2
    known = {} if truth is None else {"right": judged(truth, rows, columns)}
    if seeds is not None:
        known["seed"] = np.isin(rows, seeds[:, 0]).tolist()
    return {**dict(zip(HEAD, (rows.tolist(), columns.tolist(), *ids, *figures), strict=True)), **known}


def judged(truth: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[bool | None]:
    """Whether each pair is right; None where the partner of its row is not known."""
    known = zip(truth[rows].tolist(), columns.tolist(), strict=True)
    return [None if true == ALONE else true == made for true, made in known]


def lines(columns: Mapping[str, list[Any]]) -> Iterator[list[object]]:
    """A line for each pair, as `matching.csv` holds it."""
    for line in zip(*columns.values(), strict=True):
        yield [word(value) for value in line]


def word(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json`, last of all: where it is, the rest is whole."""
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
