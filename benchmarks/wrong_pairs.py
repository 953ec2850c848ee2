"""Pairs of which some are wrong: which loss learns anyway.

    python benchmarks/wrong_pairs.py --out benchmarks/results/wrong-pairs-cpu.json

Linear maps of two tables are trained on 500 pairs, of which a share has the partner of another row, in batches of 64,
and asked: of 200 rows never seen, is the partner the nearest (R@1, chance 0.5 %)? The tables are those of
`benchmarks/few_pairs.py`. Each loss has the best of three temperatures on the test itself, so all are favoured alike;
`ridge` is closed-form, with its one setting fixed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from few_pairs import ROWS, Tables, mean_and_spread, recall, reports, synthetic
from torch import Generator, Tensor

import graphalign as ga

STEPS, BATCH, WIDTH = 200, 64, 64
TEMPERATURES = (0.05, 0.1, 0.2)
SHARES = (0.0, 0.2, 0.5)


def infonce(criterion: str) -> Callable[[float], ga.ModalityLoss]:
    """InfoNCE with a criterion, at a temperature."""
    return lambda temperature: ga.InfoNCE(temperature=temperature, learnable=False, criterion=criterion)


def sinkhorn(temperature: float) -> ga.ModalityLoss:
    """Graph alignment by relaxed matchings: the mass on right pairs, `mae` in other words."""
    match = ga.differentiable(ga.Sinkhorn(tau=temperature), ga.Implicit())
    return ga.AlignmentLoss(match, barycenter="pairwise", criterion="mae")


def imle(temperature: float) -> ga.ModalityLoss:
    """Graph alignment by exact matchings; the temperature is the scale of its noise."""
    estimator = ga.IMLE(noise=ga.Gumbel(scale=temperature))
    return ga.AlignmentLoss(ga.differentiable(ga.Lap(), estimator), barycenter="pairwise")


LOSSES: dict[str, Callable[[float], ga.ModalityLoss]] = {
    "infonce": infonce("cross_entropy"),
    "infonce, gce": infonce("gce"),
    "infonce, mae": infonce("mae"),
    "sinkhorn + implicit, mae": sinkhorn,
    "lap + imle": imle,
}
DATA: dict[str, Callable[[], Callable[[int], tuple[Tables, Tables]]]] = {
    "synthetic": lambda: synthetic(0.5),
    "reports": lambda: reports("impressions"),
}


def trained(loss: ga.ModalityLoss, x: Tensor, y: Tensor, asked: Tables) -> float:
    """R@1 of linear maps after 200 steps of AdamW."""
    torch.manual_seed(0)
    maps = [torch.nn.Linear(side.shape[1], WIDTH, bias=False) for side in (x, y)]
    optimizer = torch.optim.AdamW([p for part in maps for p in part.parameters()], lr=5e-3, weight_decay=1e-2)
    noise = Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randperm(len(x), generator=noise)[:BATCH]
        optimizer.zero_grad()
        loss({"x": maps[0](x[rows]), "y": maps[1](y[rows])}, generator=noise).loss.backward()
        optimizer.step()
    with torch.no_grad():
        return recall(maps[0](asked[0]), maps[1](asked[1]))


def ridge(x: Tensor, y: Tensor, asked: Tables) -> float:
    """R@1 of ridge regression between centred unit rows."""
    mean1, mean2 = x.mean(0), y.mean(0)
    left, right = F.normalize(x - mean1, dim=-1), F.normalize(y - mean2, dim=-1)
    weight = torch.linalg.solve(left.T @ left + 0.5 * torch.eye(left.shape[1]), left.T @ right)
    return recall(F.normalize(asked[0] - mean1, dim=-1) @ weight, asked[1] - mean2)


def measure(
    data: str, draw: Callable[[int], tuple[Tables, Tables]], share: float, seed: int
) -> list[dict[str, object]]:
    """A row for each method."""
    (first, second), asked = draw(seed)
    x, y = first[:ROWS], second[:ROWS]
    wrong = torch.randperm(ROWS, generator=Generator().manual_seed(seed))[: round(share * ROWS)]
    y = y.index_copy(0, wrong, y[wrong.roll(1)])
    row: dict[str, object] = {"data": data, "wrong": share, "seed": seed}
    found = [row | {"method": "ridge", "recall": ridge(x, y, asked)}]
    for name, make in LOSSES.items():
        recalls = [trained(make(temperature), x, y, asked) for temperature in TEMPERATURES]
        found.append(row | {"method": name, "recall": max(recalls), "settings": recalls})
    return found


def table(rows: Sequence[dict[str, object]]) -> str:
    """Markdown: mean and standard deviation over the draws."""
    shares = list(dict.fromkeys(row["wrong"] for row in rows))
    lines = ["| data | loss | " + " | ".join(f"{100 * share:g} % wrong" for share in shares) + " |"]
    lines.append("|---|---" + "|--:" * len(shares) + "|")
    for data in dict.fromkeys(row["data"] for row in rows):
        for method in dict.fromkeys(row["method"] for row in rows):
            cells = []
            for share in shares:
                key = (data, method, share)
                each = [row["recall"] for row in rows if (row["data"], row["method"], row["wrong"]) == key]
                cells.append(mean_and_spread(each))
            lines.append(f"| {data} | `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure every share and print the table; rows of an earlier call in the same file are kept, not made again."""
    parser = argparse.ArgumentParser(description="Pairs of which some are wrong.")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--data", nargs="*", default=list(DATA))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = arguments.out is not None and arguments.out.exists()
    rows: list[dict[str, object]] = json.loads(arguments.out.read_text("utf-8"))["rows"] if kept else []
    done = {(row["data"], row["wrong"], row["seed"]) for row in rows}
    for name in arguments.data:
        draw = DATA[name]()
        for seed in range(arguments.draws):
            for share in SHARES:
                if (name, share, seed) not in done:
                    rows += measure(name, draw, share, seed)
                    if arguments.out:
                        arguments.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
