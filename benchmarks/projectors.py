"""A small VLM trained on the captions of pairs that `exgra align` found, beside known pairs only.

    python benchmarks/projectors.py --out benchmarks/results/projectors-cpu.json

500 rows of the embedded data have lost their captions, which are in another archive, in another order. The rows still
have vectors of an old search index of their captions (hashed words), the archive has those of a new one (runs of four
letters), and 16 pairs are known. `exgra align` finds the others; `data.pairs` gives the rows their captions. A row in
no accepted pair is aligned without one. The model is that of `demo`, made smaller; the test is on people of whom
training saw nothing: the share of images whose caption is found in a batch, and of exact answers.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exgra.main import run
from medmllm.data.config import DataConfig
from medmllm.data.records import Record
from medmllm.data.sources import open_source
from medmllm.settings.load import load_config
from medmllm.training.trainer import train

ROWS, KNOWN, ASKED = 500, 16, 192
# arm -> its settings; from a confidence of 1 on, known pairs alone are accepted
ARMS: dict[str, dict[str, Any]] = {
    "no alignment": {"data.min_confidence": 1, "align.weight": 0},
    "known pairs": {"data.min_confidence": 1},
    "found pairs": {"data.min_confidence": -1},
}
SETTINGS = (
    "model.vision.hidden_size=64", "model.vision.layers=2", "model.language.hidden_size=96",
    "model.language.intermediate_size=256", "model.language.layers=2", "train.batch_size=32", "train.lr=0.002",
    "engine.workers=0", "eval.splits=[test]",
)  # fmt: skip


def counted(texts: Sequence[str], pieces: Callable[[str], Sequence[str]], width: int) -> np.ndarray:
    """Weighted counts of the pieces of each text, by hashing."""
    counts = np.zeros((len(texts), width), dtype=np.float32)
    for row, text in enumerate(texts):
        for piece in pieces(text.lower()):
            counts[row, zlib.crc32(piece.encode()) % width] += 1
    weighted: np.ndarray = np.sqrt(counts) * np.log((1 + len(texts)) / (1 + (counts > 0).sum(0)))
    return weighted


def letters(text: str) -> list[str]:
    return [text[start : start + 4] for start in range(len(text) - 3)]


def write_archives(folder: Path) -> None:
    """Write rows and images, captions in another order, both indexes, and the known and the true pairs."""
    source = open_source(DataConfig())
    chosen = np.random.default_rng(0).permutation(len(source.records("train")))[:ROWS]
    train_rows = [source.records("train")[i] for i in chosen]
    write_rows(source, folder, "train", train_rows, captions=False)
    for split in ("validation", "test"):
        records = source.records(split)
        drawn = np.random.default_rng(0).permutation(len(records))[:ASKED]
        write_rows(source, folder, split, [records[i] for i in drawn], captions=True)
    order = np.random.default_rng(1).permutation(ROWS)
    captions, names = [record.caption for record in train_rows], [record.id for record in train_rows]
    np.savez(folder / "rows.npz", x=counted(captions, str.split, 512), ids=np.array(names))
    moved = [captions[i] for i in order]
    np.savez(folder / "captions.npz", x=counted(moved, letters, 384), ids=np.array([f"c{i}" for i in range(ROWS)]))
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "caption"), *((f"c{i}", text) for i, text in enumerate(moved))])
    places = np.argsort(order)
    pairs = [(names[row], f"c{places[row]}") for row in range(ROWS)]
    for name, listed in (("known", pairs[:KNOWN]), ("true", pairs)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("row", "column"), *listed])


def write_rows(source: Any, folder: Path, split: str, records: Sequence[Record], *, captions: bool) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
        for record in records:
            path = folder / "images" / f"{split}-{Path(record.image).name}"
            path.write_bytes(source.content(record))
            row = {"id": record.id, "image": f"images/{path.name}", "question": record.question}
            row |= {"answer": record.answer, "kind": record.kind, "subject": record.subject}
            file.write(json.dumps(row | ({"caption": record.caption} if captions else {})) + "\n")


def aligned(folder: Path) -> dict[str, Any]:
    """What `exgra align` says of its pairs."""
    names = [str(folder / name) for name in ("rows.npz", "captions.npz")]
    pairs = ["--known", str(folder / "known.csv"), "--truth", str(folder / "true.csv")]
    options = [*pairs, "--out", str(folder / "aligned")]
    if run(["align", *names, *options, "--no-picture", "--strict"]):
        raise SystemExit("the alignment is not trusted")
    told: dict[str, Any] = json.loads((folder / "aligned" / "summary.json").read_text("utf-8"))
    return {key: told[key] for key in ("trusted", "held_out", "reproduced", "reproduced_known", "accuracy")}


def measured(arm: str, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """One run: how the unseen images find their captions, and the exact answers."""
    flags: dict[str, Any] = {
        "data.source": str(folder / "train.jsonl"), "data.validation": str(folder / "validation.jsonl"),
        "data.test": str(folder / "test.jsonl"), "data.pairs": str(folder / "aligned" / "pairs.csv"),
        "data.captions": str(folder / "captions.csv"), "data.allow_outside": True, "seed": seed,
        "train.steps": steps, "train.eval_every": steps, "train.save_every": steps,
    }  # fmt: skip
    began, out = time.process_time(), folder / f"{arm}-{seed}"
    summary = train(load_config("demo", SETTINGS, flags | ARMS[arm]), out)
    return {
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "cpu_seconds": round(time.process_time() - began, 1),
        "matching": summary["matching"],
        "test": {name: summary["test"][name] for name in ("accuracy", "n", "subjects", "majority")},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: each figure of each seed, in percent."""
    lines = ["| trained on | captions of unseen images found, before | after | exact answers |", "|---|--:|--:|--:|"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        part = [row for row in rows if row["arm"] == arm]
        cells = [
            ", ".join(f"{100 * row[group][name]:.1f}" for row in part)
            for group, name in (("matching", "before"), ("matching", "after"), ("test", "accuracy"))
        ]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="A small VLM trained on found pairs.")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        write_archives(Path(name))
        found = aligned(Path(name))
        for seed in asked.seeds:
            rows += [measured(arm, seed, asked.steps, Path(name)) for arm in asked.arms]
            if asked.out:
                asked.out.write_text(json.dumps({"aligned": found, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
