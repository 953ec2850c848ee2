"""Students: an encoder trained on the pairs that `graphalign.align` found, beside known pairs only.

    python benchmarks/students.py --out benchmarks/results/students-cpu.json

The tables and draws are those of `benchmarks/few_pairs.py`: 500 rows of which few pairs are known, and 200 rows never
seen (R@1, chance 0.5 %). The student is a network of one hidden layer from the first table to the space of the second,
trained by InfoNCE or its bounded form with the same settings, whatever pairs it gets: the known ones, the surest half
of all, all, or the true ones, which nobody has; and ridge regression on the same pairs. `align` is the map that found
them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from few_pairs import ROWS, Tables, mean_and_spread, mutual_neighbours, recall, reports, synthetic
from torch import Generator, Tensor, nn

import graphalign as ga

STEPS, BATCH = 300, 64
DATA = {"reports, 16 known": (lambda: reports("impressions"), 16), "synthetic, 12 known": (lambda: synthetic(0.5), 12)}


def student(x: Tensor, y: Tensor, asked: Tables, criterion: str) -> float:
    """R@1 of a network that was trained on these pairs."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Linear(256, y.shape[1]))
    loss = ga.InfoNCE(temperature=0.1, learnable=False, criterion=criterion)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    noise, mean = Generator().manual_seed(0), y.mean(0)
    for _ in range(STEPS):
        rows = torch.randperm(len(x), generator=noise)[:BATCH]
        optimizer.zero_grad()
        loss({"x": network(x[rows]), "y": y[rows] - mean}).loss.backward()
        optimizer.step()
    with torch.no_grad():
        return recall(network(asked[0]), asked[1] - mean)


def measure(data: str, draw: object, known: int, seed: int) -> list[dict[str, object]]:
    """A row for each set of pairs and criterion, with the share of its pairs that are right."""
    (first, second), asked = draw(seed)  # type: ignore[operator]
    order = torch.randperm(ROWS, generator=Generator().manual_seed(seed))
    x, y = first[:ROWS], second[:ROWS][order]
    pairs = torch.stack([torch.arange(known), order.argsort()[:known]], 1)
    found = ga.align(x, y, pairs)
    sure = found.known | (found.confidence >= found.confidence.median())
    chosen = {
        "known pairs": (found.rows[found.known], found.cols[found.known]),
        "the surest half": (found.rows[sure], found.cols[sure]),
        "all found pairs": (found.rows, found.cols),
        "the true pairs": (torch.arange(ROWS), order.argsort()),
    }
    row: dict[str, object] = {"data": data, "seed": seed}
    scores = found.scores(*asked)
    nearest = float((scores >= scores.diagonal()[:, None]).sum(1).eq(1).float().mean())
    rows = [row | {"pairs": "align itself", "criterion": "", "recall": nearest, "trusted": found.trusted}]
    for name, (left, right) in chosen.items():
        share = float((order[right] == left).float().mean())
        got = mutual_neighbours(x, y, torch.stack([left, right], 1), asked, rounds=1)
        rows.append(row | {"pairs": name, "criterion": "ridge", "right": share, "recall": got})
        for criterion in ("cross_entropy", "mae"):
            got = student(x[left], y[right], asked, criterion)
            rows.append(row | {"pairs": name, "criterion": criterion, "right": share, "recall": got})
    return rows


def table(rows: Sequence[dict[str, object]]) -> str:
    """Markdown: mean and standard deviation over the draws."""
    data = list(dict.fromkeys(row["data"] for row in rows))
    lines = ["| trained on | criterion | " + " | ".join(map(str, data)) + " |", "|---|---" + "|--:" * len(data) + "|"]
    for pairs, criterion in dict.fromkeys((row["pairs"], row["criterion"]) for row in rows):
        cells = []
        for name in data:
            key = (name, pairs, criterion)
            each = [row["recall"] for row in rows if (row["data"], row["pairs"], row["criterion"]) == key]
            cells.append(mean_and_spread(each))
        lines.append(f"| {pairs} | {f'`{criterion}`' if criterion else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every draw and print the table."""
    parser = argparse.ArgumentParser(description="Students of found pairs.")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for name, (source, known) in DATA.items():
        draw = source()
        for seed in range(arguments.draws):
            rows += measure(name, draw, known, seed)
    print(table(rows))
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
