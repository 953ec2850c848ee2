"""Second order: FAQ beside pygmtools and POT on graphs of noisy points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphalign import FAQ, Lap, NodeEdge, Problem, objective
from graphalign.bench import peers
from graphalign.bench.instances import dense_affinity, noisy_graphs
from graphalign.bench.memory import peak_mb
from graphalign.bench.rows import Plan, Row, absent
from graphalign.bench.timing import Timing, race

PART, LARGE, MEMORY = "quadratic", "quadratic large", "quadratic memory"
NEIGHBOURS = 5
SIZES, NOISES, PROBLEMS = (16, 32, 64), ("easy", "medium", "hard"), 5
LARGE_SIZES = (128, 256, 512)
DENSE = ("pygmtools rrwm", "pygmtools ipfp", "pygmtools sm")


def measure_quadratic(plan: Plan) -> list[Row]:
    """Rows of every size and noise, then those of `faq` alone on large graphs."""
    sizes, noises = ((8,), ("hard",)) if plan.quick else (SIZES, NOISES)
    rows = [row for n in sizes for noise in noises for row in quadratic_rows(plan, n, noise)]
    rows += [] if plan.quick else quadratic_rows(plan, SIZES[-1], "hard", "lengths")
    return rows + [row for n in ((16,) if plan.quick else LARGE_SIZES) for row in large(plan, n)]


def quadratic_rows(plan: Plan, n: int, noise: str, edges: str = "vectors") -> list[Row]:
    """Several problems of one kind; a contender's time and quality are means over them."""
    name = f"{n} nodes {noise}" + ("" if edges == "vectors" else f", {edges}")
    plan.say(f"graph matching, {name}")
    missing = peers.missing([*DENSE, "POT fused GW"])
    solved = [one(plan, n, noise, edges, plan.seed + i, missing) for i in range(1 if plan.quick else PROBLEMS)]
    rows = [Row(PART, name, key, *mean(problem[key] for problem in solved)) for key in solved[0]]
    return rows + absent(PART, name, missing)


def one(
    plan: Plan, n: int, noise: str, edges: str, seed: int, missing: Iterable[str]
) -> dict[str, tuple[Timing, float, float]]:
    """Contender to its time, its share of the best objective, and its share of planted pairs."""
    problem, planted = noisy_graphs(n, k=NEIGHBOURS, noise=noise, seed=seed, edges=edges)
    found = race(contenders(problem, set(missing)), plan.budget / (1 if plan.quick else PROBLEMS))
    made = found.pop("(dense affinity)")
    matchings = {key: vertex(timing.result) for key, timing in found.items()}
    values = {key: value(problem, x) for key, x in matchings.items()}
    best, row = max(values.values()), torch.arange(n)
    shares = {key: float(x[row, planted].mean()) for key, x in matchings.items()}
    timed = {key: (timing, values[key] / best, shares[key]) for key, timing in found.items()}
    return {**timed, "(dense affinity)": (made, float("nan"), float("nan"))}


def contenders(problem: Problem, missing: set[str]) -> dict[str, Callable[[], Any]]:
    """Call on one problem; the dense affinity that pygmtools needs is made beforehand, and timed by itself."""
    node, affinity = problem.scores.node, dense_affinity(problem)
    calls: dict[str, Callable[[], Any]] = {"faq": partial(FAQ(), problem)}
    for name in DENSE:
        calls[name] = partial(peers.pygmtools_quadratic, affinity, len(node), name.split()[1])
    calls["POT fused GW"] = partial(
        peers.pot_fused, node, adjacency(problem.edges1, node), adjacency(problem.edges2, node)
    )
    kept: dict[str, Callable[[], Any]] = {key: call for key, call in calls.items() if key not in missing}
    return {**kept, "(dense affinity)": partial(dense_affinity, problem)}


def adjacency(edges: Tensor | None, node: Tensor) -> Tensor:
    assert edges is not None
    source, target = edges
    return torch.zeros_like(node).index_put((source, target), node.new_ones(()))


def vertex(result: Any) -> Tensor:
    """The matching nearest to what a contender returned, which may be soft."""
    found = getattr(result, "matching", result).detach()
    return Lap()(Problem(NodeEdge(found))).matching


def value(problem: Problem, matching: Tensor) -> float:
    return float(objective(problem, NodeEdge(matching, problem.edge_matching(matching))))


def mean(solved: Iterable[tuple[Timing, float, float]]) -> tuple[Timing, dict[str, float]]:
    timings, shares, planted = zip(*solved, strict=True)
    count = len(timings)
    timing = Timing(
        None, sum(t.ms for t in timings) / count, sum(t.wall_ms for t in timings) / count, timings[0].rounds
    )
    if shares[0] != shares[0]:  # NaN: the dense affinity was not timed
        return timing, {}
    return timing, {"objective_share": sum(shares) / count, "planted_share": sum(planted) / count}


def large(plan: Plan, n: int) -> list[Row]:
    """Time and peak memory of `faq` alone, where no dense affinity fits."""
    name = f"{n} nodes hard"
    plan.say(f"graph matching, {name}, faq alone")
    problem, _ = noisy_graphs(n, k=NEIGHBOURS, noise="hard", seed=plan.seed)
    timing = race({"faq": partial(FAQ(), problem)}, plan.budget)["faq"]
    dense = 4 * n**4 / 2**20
    return [Row(LARGE, name, "faq", timing, {"mb": peak_mb("quadratic", "faq", n), "dense_affinity_mb": dense})]


def quadratic_step(contender: str, n: int) -> Callable[[], Any]:
    """The step whose memory is measured, with everything imported and the problem made."""
    problem, _ = noisy_graphs(n, k=NEIGHBOURS, noise="hard", seed=0)
    FAQ()(noisy_graphs(8, k=2)[0])
    return partial(FAQ(), problem)
