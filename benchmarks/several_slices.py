"""Questions over three slices: trained with all of them beside trained with the middle one.

    python benchmarks/several_slices.py --out several-slices.json

Both arms have the same questions of `embedded-slices`, the same tiny model, steps and seeds; one is shown the three
slices of a row, the other the second of them. No answer follows from that one, so the other arm can only guess. Plain
next-token training, one thread. The document has the answers of every run, right or wrong, in the order of the rows.
Beside them a logistic regression on pixels, one for each question, on the same slices.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from graphalign.bench.machine import machine, versions
from medmllm.data.config import DataConfig
from medmllm.data.records import Record, each_image
from medmllm.data.source import Source
from medmllm.data.sources import open_source
from medmllm.evaluate.statistics import compare
from medmllm.settings.load import load_config
from medmllm.training.trainer import train

ARMS = {"all": slice(None), "middle": slice(1, 2)}
SPLITS = ("test", "test_slab")
SETTINGS = (
    "data.allow_outside=true", "align.weight=0", "model.vision.image_size=56", "model.vision.patch_size=28",
    "model.vision.hidden_size=64", "model.vision.layers=2", "model.language.hidden_size=96",
    "model.language.intermediate_size=256", "model.language.layers=2", "train.batch_size=32", "train.lr=0.002",
    "eval.validation_limit=8", "engine.workers=0",
)  # fmt: skip


def write_arms(source: Source, folder: Path) -> None:
    """Write the rows of both arms, and the images once."""
    for split in source.splits:
        rows: dict[str, list[str]] = {arm: [] for arm in ARMS}
        for record in source.records(split):
            names = []
            for one in each_image([record]):
                path = folder / split / Path(one.image).name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(source.content(one)) if not path.exists() else None  # type: ignore[arg-type]
                names.append(f"../{split}/{path.name}")
            texts = {"question": record.question, "answer": record.answer}
            about = {"id": record.id, "kind": record.kind, "subject": record.subject}
            for arm, part in ARMS.items():
                rows[arm].append(json.dumps({**about, "images": names[part], **texts}))
        for arm, lines in rows.items():
            (folder / arm).mkdir(exist_ok=True)
            (folder / arm / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def answers_of(arm: str, seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """One run: which answers of each split are right, in the order of the rows, and the processor time."""
    torch.set_num_threads(1)
    began, out = time.process_time(), folder / f"run-{arm}-{seed}"
    flags = {"data.source": str(folder / arm), "seed": seed, "train.steps": steps, "train.eval_every": steps}
    train(load_config("demo", SETTINGS, {**flags, "train.save_every": steps}), out)
    spent = time.process_time() - began
    found = {split: _right(out / "eval" / f"{split}.samples.jsonl") for split in SPLITS}
    return {"arm": arm, "seed": seed, "cpu_seconds": round(spent, 1), "right": found}


def _right(path: Path) -> list[int]:
    rows = {row["id"]: int(row["correct"]) for row in map(json.loads, path.read_text("utf-8").splitlines())}
    return [rows[name] for name in sorted(rows)]


def pixels(source: Source, arm: str, seed: int) -> dict[str, Any]:
    """Right answers of a logistic regression for each question, on coarse pixels and grey levels of the slices.

    The seed draws the training rows of each question with replacement. A question that was not trained on gets the
    commonest answer of its kind.
    """
    began, drawn = time.process_time(), Random(seed)
    seen: dict[tuple[str, str], Tensor] = {}
    rows, usual = defaultdict[str, list[Record]](list), defaultdict[str, Counter[str]](Counter)
    for record in source.records("train"):
        rows[record.question].append(record)
        usual[record.kind][record.answer] += 1

    def features(record: Record) -> Tensor:
        for one in (shown := each_image([record])[ARMS[arm]]):
            if (one.split, one.image) not in seen:
                seen[one.split, one.image] = _coarse(source.image(one))
        return torch.cat([seen[one.split, one.image] for one in shown])

    models = {}
    for text, part in rows.items():
        again = drawn.choices(part, k=len(part))
        models[text] = _fit(torch.stack([features(record) for record in again]), [record.answer for record in again])

    def answer(record: Record) -> str:
        if record.question not in models:
            return min(usual[record.kind].items(), key=lambda item: (-item[1], item[0]))[0]
        answers, middle, weights = models[record.question]
        return answers[int((_with_one(features(record)[None] - middle) @ weights).argmax())]

    ordered = {split: sorted(source.records(split), key=lambda record: record.id) for split in SPLITS}
    right = {split: [int(answer(record) == record.answer) for record in part] for split, part in ordered.items()}
    return {"arm": arm, "seed": seed, "cpu_seconds": round(time.process_time() - began, 1), "right": right}


def _coarse(picture: Image.Image) -> Tensor:
    """8 x 8 means of the grey levels, and their shares in 16 steps outside of the black ground."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    small = grey.reshape(8, grey.shape[0] // 8, 8, grey.shape[1] // 8).mean((1, 3)).ravel()
    levels = np.histogram(grey[grey > 0.02], bins=16, range=(0, 1))[0].astype(np.float32)
    return torch.from_numpy(np.concatenate([small, 4 * levels / max(1, levels.sum())]))


def _fit(table: Tensor, said: list[str]) -> tuple[list[str], Tensor, Tensor]:
    """Answers, the mean row, and weights of a logistic regression with a ridge of 0.001."""
    answers, middle = sorted(set(said)), table.mean(0)
    rows, truth = _with_one(table - middle), torch.tensor([answers.index(one) for one in said])
    weights = torch.zeros(rows.shape[1], len(answers), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(rows @ weights, truth) + 0.001 * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return answers, middle, weights.detach()


def _with_one(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)


def summary(runs: list[dict[str, Any]], source: Source) -> dict[str, Any]:
    """Accuracies of both arms by split and kind, and their differences with intervals over seeds and volumes.

    Where all rows of a kind are of one volume, the interval is over its rows.
    """
    told: dict[str, Any] = {}
    for split in SPLITS:
        records = sorted(source.records(split), key=lambda record: record.id)
        tables = {arm: [run["right"][split] for run in runs if run["arm"] == arm] for arm in ARMS}
        told[split] = {}
        for kind in ("every kind", *sorted({record.kind for record in records})):
            rows = [i for i, record in enumerate(records) if kind in ("every kind", record.kind)]
            part = {arm: [[seed[i] for i in rows] for seed in table] for arm, table in tables.items()}
            people = [records[i].subject for i in rows]
            found = compare(part["all"], part["middle"], people if len(set(people)) > 1 else None, largest=1.0)
            told[split][kind] = {
                "rows": len(rows),
                **{arm: [round(100 * mean(seed), 1) for seed in table] for arm, table in part.items()},
                "difference": {
                    name: round(100 * getattr(found, name), 1) for name in ("difference", "low", "high")
                } | {"p": round(found.p, 4)},
            }  # fmt: skip
    return told


def table(summary: dict[str, Any]) -> str:
    """Means over seeds, in percent, with the difference and its interval."""
    lines = ["| split | kind | rows | all slices | middle slice | difference |", "|---|---|---|---|---|---|"]
    for split, kinds in summary.items():
        for kind, row in kinds.items():
            ends = row["difference"]
            told = f"{ends['difference']:+.1f} [{ends['low']:+.1f}, {ends['high']:+.1f}]"
            arms = " | ".join(f"{mean(row[arm]):.1f}" for arm in ARMS)
            lines.append(f"| {split} | {kind} | {row['rows']} | {arms} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--pixels", action="store_true", help="the logistic regression alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each with one thread")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    source = open_source(DataConfig(source="embedded-slices"))
    runs = {"pixels": [pixels(source, arm, seed) for seed in range(asked.seeds) for arm in ARMS]}
    if not asked.pixels:
        runs["language model"] = trained(source, asked.seeds, asked.steps, asked.jobs)
    summaries = {name: summary(found, source) for name, found in runs.items()}
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "settings": [*SETTINGS, f"train.steps={asked.steps}"],
        "runs": runs,
        "summary": summaries,
    }
    asked.out.write_text(json.dumps(document) + "\n")
    for name, told in summaries.items():
        print(f"{name}\n\n{table(told)}\n")


def trained(source: Source, seeds: int, steps: int, jobs: int) -> list[dict[str, Any]]:
    """Every run of both arms, so many at once."""
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        write_arms(source, Path(name))
        asked = [pool.submit(answers_of, arm, seed, steps, Path(name)) for seed in range(seeds) for arm in ARMS]
        return [job.result() for job in asked]


if __name__ == "__main__":
    main()
