"""Linear assignment: our solvers beside lapx, scipy and pygmtools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphalign import NodeEdge, Problem, build, components
from graphalign.bench import peers
from graphalign.bench.rows import Plan, Row, absent
from graphalign.bench.timing import race

PART = "linear"
SHAPES = ((64, 16), (64, 64), (32, 256), (8, 512), (1, 2048))
KINDS = ("random", "near-diagonal")
REPEATED = "random, one batch again and again"
NUMBERS = 2**18  # in all batches of a case, if one has less: a processor learns the branches of one small batch
OURS = ("lap", "hungarian", "auction", "greedy")
PEERS: dict[str, Callable[[Tensor], Tensor]] = {
    "lapx lapjvr": partial(peers.lapx, engine="lapjvr"),
    "lapx lapjvh": partial(peers.lapx, engine="lapjvh"),
    "lapjv": peers.lapjv,
    "scipy": peers.scipy,
    "pygmtools": peers.pygmtools_hungarian,
}


def measure_linear(plan: Plan) -> list[Row]:
    """Rows of every shape and kind."""
    shapes = ((8, 8),) if plan.quick else SHAPES
    cases = [(*shape, kind) for shape in shapes for kind in KINDS]
    cases.insert(len(KINDS), (*shapes[0], REPEATED))
    return [row for case in cases for row in linear_rows(plan, *case)]


def linear_rows(plan: Plan, batch: int, n: int, kind: str) -> list[Row]:
    """Times of one batch from its scores on; small ones are solved in a row, different ones unless REPEATED."""
    name = f"{batch}x{n} {kind}"
    plan.say(f"linear assignment, {name}")
    count = 1 if plan.quick else max(1, NUMBERS // (batch * n * n))
    # Again often enough that it does not matter whether the contender before, which may share code, warmed it up.
    again, seeds = (10 * count, [plan.seed]) if kind == REPEATED else (1, range(plan.seed, plan.seed + count))
    batches = [draw_scores(batch, n, kind, seed) for seed in seeds]
    missing = peers.missing(list(PEERS))
    others = {key: partial(each, call, batches, again) for key, call in PEERS.items() if key not in missing}
    timings = race({**ours(batches, again), **others}, plan.budget)
    totals = {key: sum(map(total, batches, timing.result)) for key, timing in timings.items()}
    best = max(totals.values())
    rows = [
        Row(PART, name, key, timing.shared(len(batches) * again), {"objective_share": totals[key] / best})
        for key, timing in timings.items()
    ]
    return rows + absent(PART, name, missing)


def each(call: Callable[[Any], Any], batches: list[Any], again: int) -> list[Any]:
    """Solve all batches so many times; return the results of the last one, as no other results are kept."""
    for _ in range(again - 1):
        for batch in batches:
            call(batch)
    return [call(batch) for batch in batches]


def draw_scores(batch: int, n: int, kind: str, seed: int) -> Tensor:
    """Uniform scores; near-diagonal ones have the best partner of nearly every row in place, as late in training."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, n, n, generator=generator)
    if kind != "near-diagonal":
        return scores
    clear = 0.5 + torch.rand(batch, n, generator=generator)
    return scores + torch.diag_embed(clear)


def ours(batches: list[Tensor], again: int) -> Mapping[str, Callable[[], Any]]:
    known = components("solver")
    return {
        name: partial(each, partial(solved, build("solver", name)), batches, again) for name in OURS if name in known
    }


def solved(solver: Callable[[Problem], Any], scores: Tensor) -> Any:
    return solver(Problem(NodeEdge(scores)))


def total(scores: Tensor, result: Any) -> float:
    """The objective, of a solution, of a matching or of the column of every row, in double precision."""
    found = getattr(result, "matching", result)
    if found.shape == scores.shape:
        return float((scores.double() * found).sum())
    return float(scores.double().gather(-1, found.long()[..., None]).sum())
