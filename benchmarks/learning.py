"""Which estimator learns? The tutorial's two encoders with each of them in turn, on samples that were not trained on.

    python benchmarks/learning.py --out learning.json

The program is that of `docs/tutorials/first-matching.md` with more samples: a linear map for each of two random views
of eight hidden numbers, Adam, a graph of each batch. Only the loss is exchanged: every registered estimator at its
defaults, with `lap`, or with `sinkhorn` where it needs a relaxed solver; losses that take no estimator; other settings
of those that fail; and `ridge`, which trains nothing: ridge regression of the one view on the other, in closed form.
Whatever was trained with, `lap` matches the unseen samples by their cosines.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import Pool
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import graphalign as ga
from graphalign.bench.machine import machine, versions

STEPS = (60, 300)
TRAINED_ON, UNSEEN, DRAWS = 512, 64, 16
LARGEST_OF_OTHER = 64  # nodes
CRITERIA, BASELINES, RIDGE = ("fenchel_young", "spo_plus"), ("infonce", "siglip"), "ridge"


@dataclass(frozen=True)
class Contender:
    """A loss, by the spec of its estimator or its own, and how fast it is followed."""

    spec: str
    rate: float = 0.01

    @property
    def name(self) -> str:
        return self.spec if self.rate == Contender.rate else f"{self.spec}, lr {self.rate:g}"

    def loss(self) -> nn.Module:
        if self.spec in BASELINES:
            return ga.build("loss", self.spec)
        if self.spec in CRITERIA:
            return ga.AlignmentLoss(criterion=self.spec, barycenter="pairwise")
        estimator = ga.build("estimator", self.spec)
        solver = ga.Lap() if ga.refusal(ga.Lap(), estimator) is None else ga.Sinkhorn()
        return ga.AlignmentLoss(ga.differentiable(solver, estimator), barycenter="pairwise")


PLAIN = [Contender(spec) for spec in (*sorted(ga.components("estimator")), *CRITERIA, *BASELINES, RIDGE)]
OTHER = [
    Contender("perturbed", rate=0.001),
    Contender("perturbed(noise=normal(0.05))"),
    Contender("perturbed(noise=normal(1.0))"),
    Contender("perturbed(noise=normal(1.0), samples=64)"),
    Contender("perturbed(samples=64)"),
    Contender("perturbed(samples=256)"),
    Contender("straight_through", rate=0.001),
    Contender("straight_through(surrogate=sinkhorn)"),
]


class Task:
    """Two views of the same samples, and an encoder of each; equal for every contender of a seed."""

    def __init__(self, nodes: int, seed: int) -> None:
        torch.manual_seed(seed)
        hidden = torch.randn(TRAINED_ON + UNSEEN, 8)
        self.views = {"sound": hidden @ torch.randn(8, 40), "text": hidden @ torch.randn(8, 25)}
        self.encoders = nn.ModuleDict({name: nn.Linear(x.shape[1], 16) for name, x in self.views.items()})
        self.nodes, self.batches = nodes, Generator().manual_seed(seed)
        self.noise = Generator().manual_seed(seed)

    def batch(self) -> dict[str, Tensor]:
        return self.encoded(torch.randperm(TRAINED_ON, generator=self.batches)[: self.nodes])

    def unseen(self) -> dict[str, Tensor]:
        return self.encoded(torch.arange(TRAINED_ON, TRAINED_ON + UNSEEN))

    def encoded(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: self.encoders[name](x[rows]) for name, x in self.views.items()}


def trained(contender: Contender, nodes: int, seed: int) -> list[dict[str, Any]]:
    """Figures of one run at each number of `STEPS`."""
    if contender.spec == RIDGE:
        return regressed(Task(nodes, seed))
    task, loss = Task(nodes, seed), contender.loss()
    alike, found, spent = agreement(Task(nodes, seed), loss), [], 0.0
    optimizer = torch.optim.Adam([*task.encoders.parameters(), *loss.parameters()], lr=contender.rate)
    for step in range(1, max(STEPS) + 1):
        began = time.process_time()
        optimizer.zero_grad()
        follow(loss, task.batch(), task.noise)
        optimizer.step()
        spent += time.process_time() - began
        if step in STEPS:
            found.append({"steps": step, "agreement": alike, "ms": 1e3 * spent / step, **measured(task, loss)})
    return found


def regressed(task: Task) -> list[dict[str, Any]]:
    """Figures of ridge regression on all samples that the others are trained on, whatever the number of steps."""
    began = time.process_time()
    (sound, text) = (x[:TRAINED_ON] for x in task.views.values())
    left, right = sound - sound.mean(0), text - text.mean(0)
    weight = torch.linalg.solve(left.T @ left + torch.eye(left.shape[1]), left.T @ right)
    mapped = {"sound": (task.views["sound"] - sound.mean(0)) @ weight, "text": task.views["text"] - text.mean(0)}
    task.views, task.encoders = mapped, nn.ModuleDict({name: nn.Identity() for name in mapped})
    spent = 1e3 * (time.process_time() - began)
    return [{"steps": steps, "agreement": None, "ms": spent, **measured(task, ga.InfoNCE())} for steps in STEPS]


def follow(loss: nn.Module, batch: dict[str, Tensor], noise: Generator) -> None:
    """The gradient of one step. `detached` has none, and the loss refuses to train with it."""
    estimator = getattr(getattr(loss, "match", None), "estimator", None)
    with torch.set_grad_enabled(not isinstance(estimator, ga.Detached)):
        value = loss(batch, generator=noise).loss
    if value.requires_grad:
        value.backward()


def agreement(task: Task, loss: nn.Module) -> float | None:
    """Cosine of two gradients of the encoders before the first step that differ in their noise alone, in the mean."""
    batch, drawn = torch.randperm(TRAINED_ON, generator=task.batches)[: task.nodes], []
    for _ in range(DRAWS):
        task.encoders.zero_grad()
        follow(loss, task.encoded(batch), task.noise)
        drawn.append([x.grad.flatten() for x in task.encoders.parameters() if x.grad is not None])
    if not drawn[0]:
        return None
    draws = F.normalize(torch.stack([torch.cat(grads) for grads in drawn]), dim=-1)
    return float((draws @ draws.T)[torch.ones(DRAWS, DRAWS).triu(1) > 0].mean())


@torch.no_grad()
def measured(task: Task, loss: nn.Module) -> dict[str, float]:
    """Of unseen samples: the share that `lap` matches, what the loss calls its accuracy, and where the views lie."""
    unseen = task.unseen()
    sound, text = (F.normalize(x, dim=-1) for x in unseen.values())
    matching = ga.Lap()(ga.Problem(ga.NodeEdge(sound @ text.T))).matching
    return {
        "matched": float(ga.matching_accuracy(matching)),
        "accuracy": float(loss.evaluate(unseen).accuracy),
        "centres": float(F.cosine_similarity(sound.mean(0), text.mean(0), dim=0)),
    }


def rows(nodes: list[int], seeds: int, jobs: int, only: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """A row for each contender, number of nodes and number of steps, as soon as its seeds are through."""
    tasks = [(c, size) for size in nodes for c in contenders(size) if only is None or c.name in only]
    with Pool(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        runs = pool.imap(one_run, [(*task, seed) for task in tasks for seed in range(seeds)])
        for contender, size in tasks:
            for each in zip(*(next(runs) for _ in range(seeds)), strict=True):
                yield row(contender, size, each)


def contenders(nodes: int) -> list[Contender]:
    return [*PLAIN, *(OTHER if nodes <= LARGEST_OF_OTHER else ())]


def one_run(task: tuple[Contender, int, int]) -> list[dict[str, Any]]:
    return trained(*task)


def row(contender: Contender, nodes: int, each: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    steps, shares = each[0]["steps"], [round(one["matched"], 4) for one in each]
    names = [key for key in ("accuracy", "centres", "agreement", "ms") if each[0][key] is not None]
    means = {key: round(mean(one[key] for one in each), 4) for key in names}
    head = {"part": "learning", "case": f"{nodes} nodes, {steps} steps", "contender": contender.name}
    return {**head, "nodes": nodes, "steps": steps, "matched": shares, **means}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--nodes", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of contenders")
    asked = parser.parse_args()
    found = []
    for each in rows(asked.nodes, asked.seeds, asked.jobs, asked.only):
        found.append(each)
        print(f"{each['contender']:40} {each['case']:20} {each['matched']}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(document(found, asked.seeds), indent=1) + "\n", encoding="utf-8")


def document(found: list[dict[str, Any]], seeds: int) -> dict[str, Any]:
    about = {"schema": 1, "kind": "learning", "date": datetime.now(UTC).strftime("%Y-%m-%d"), "quick": False}
    about["seed"] = f"0 to {seeds - 1}"
    return {**about, "machine": machine(), "versions": versions(), "rows": found}


if __name__ == "__main__":
    main()
