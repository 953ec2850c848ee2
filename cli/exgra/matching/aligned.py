"""What `exgra align` leaves behind: the pairs, the mapped table, the map, a summary and a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from exgra.matching.folder import judged, word, write_summary
from exgra.matching.summary import input_files
from graphalign import Aligned
from graphalign.extras import installed
from graphalign.files.embeddings import Embeddings
from graphalign.files.truth import ALONE
from medmllm.plots.style import BLUE, INK, ORANGE, RED, figure, quiet, save
from medmllm.text.escaping import csv_cell

SCHEMA = 1
PACKAGES = ("exgra", "torch", "numpy")
HEAD = ("row", "column", "row_id", "column_id", "confidence", "known")


def summary(
    sides: tuple[Embeddings, Embeddings], found: Aligned, truth: np.ndarray | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The alignment in figures; `accuracy` is over the true pairs that were not given."""
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "files": input_files(sides),
        **settings,
        "known": int(found.known.sum()),
        "pairs": len(found.rows),
        "held_out": found.held_out,
        "reproduced": found.reproduced,
        "reproduced_known": found.reproduced_known,
        "trusted": found.trusted,
        "doubts": list(found.doubts),
        "curve": [each._asdict() for each in found.curve],
        "versions": {name: installed(name) for name in PACKAGES},
    }
    if truth is not None:
        given = found.rows[found.known].numpy()
        asked = np.setdiff1d(np.flatnonzero(truth != ALONE), given)
        made = np.full(len(truth), ALONE)
        made[found.rows.numpy()] = found.cols.numpy()
        right = int((made[asked] == truth[asked]).sum())
        told |= {"accuracy": right / len(asked) if len(asked) else None, "right": right, "of": len(asked)}
    return told


def write_aligned(
    folder: Path,
    sides: tuple[Embeddings, Embeddings],
    found: Aligned,
    truth: np.ndarray | None,
    told: Mapping[str, Any],
    *,
    picture: bool,
) -> None:
    """Write all files, `summary.json` last: where it is, the rest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*HEAD, *(["right"] if truth is not None else [])])
        rows, columns = found.rows.numpy(), found.cols.numpy()
        ids = [sides[0].ids[row] for row in rows], [sides[1].ids[column] for column in columns]
        right = [] if truth is None else [judged(truth, rows, columns)]
        for line in zip(rows, columns, *ids, found.confidence.tolist(), found.known.tolist(), *right, strict=True):
            table.writerow([csv_cell(word(value)) for value in line])
    np.save(folder / "mapped.npy", found.transform(sides[0].x).numpy())
    np.savez(folder / "map.npz", mean1=found.mean1.numpy(), mean2=found.mean2.numpy(), weight=found.weight.numpy())
    if picture:
        aligned_picture(found, folder / "aligned.png")
    write_summary(folder, told)


def aligned_picture(found: Aligned, path: Path) -> Path:
    """Write the verdict, the rounds at the left, and at the right how sure the pairs are."""
    return save(aligned_figure(found), path)


def aligned_figure(found: Aligned) -> Any:
    drawn = figure(9.6, 4.2)
    rounds, sure = drawn.subplots(1, 2)
    draw_rounds(rounds, found)
    draw_confidence(sure, found)
    lines = [fill(line, 110) for line in verdict(found)]
    drawn.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=10, color=INK if found.trusted else RED)
    return drawn


def verdict(found: Aligned) -> list[str]:
    """Both checks if they passed, else those that failed."""
    if not found.trusted:
        return [f"NOT to be trusted: {line}" for line in found.doubts]
    again = f"Trusted: {found.held_out:.1%} of the hidden known pairs were found again"
    if found.reproduced is None:
        return [f"{again}; there are no other pairs"]
    return [f"{again}, and the pairs found reproduce each other to {found.reproduced:.1%}"]


def draw_rounds(axes: Any, found: Aligned) -> None:
    numbers = range(1, len(found.curve) + 1)
    quiet(axes, "Rounds")
    axes.plot(numbers, [each.confidence for each in found.curve], color=BLUE, marker="o", markersize=4)
    axes.plot(numbers, [each.changed for each in found.curve], color=ORANGE, marker="s", markersize=4, linestyle="--")
    axes.legend(["mean cosine of the pairs", "share of rows with a new partner"], frameon=False, fontsize=8.5)
    axes.set_xlabel("round", fontsize=9, color=INK)
    axes.set_ylim(min(0.0, *(each.confidence for each in found.curve), 0.0) - 0.02, 1.05)
    axes.xaxis.get_major_locator().set_params(integer=True)


def draw_confidence(axes: Any, found: Aligned) -> None:
    quiet(axes, "How sure the pairs are")
    bins = np.linspace(float(found.confidence.min()), float(found.confidence.max()) + 1e-6, 31)
    axes.hist(found.confidence[~found.known].numpy(), bins=bins, color=BLUE, label="found pairs")
    axes.hist(found.confidence[found.known].numpy(), bins=bins, color=ORANGE, label="known pairs")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    axes.set_xlabel("cosine of the mapped row and its partner", fontsize=9, color=INK)
    axes.set_ylabel("pairs", fontsize=9, color=INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
