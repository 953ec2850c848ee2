"""Sinkhorn: a fixed number of rounds, forward and with its gradient, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from graphalign import Implicit, NodeEdge, Problem, Sinkhorn, Unrolled, differentiable
from graphalign.bench import peers
from graphalign.bench.memory import peak_mb
from graphalign.bench.rows import Plan, Row, absent
from graphalign.bench.timing import race

TAU = 0.1
CASES = ((64, 16, 20), (64, 64, 50), (32, 256, 50), (1, 2048, 50))  # problems, nodes, rounds
MEMORY_CASE = (32, 256, 100)
Solve = Callable[[Tensor, float, int], Tensor]


def ours(scores: Tensor, tau: float, rounds: int) -> Tensor:
    return _solve(Implicit(), scores, tau, rounds)


def ours_unrolled(scores: Tensor, tau: float, rounds: int) -> Tensor:
    return _solve(Unrolled(), scores, tau, rounds)


def _solve(estimator: Implicit | Unrolled, scores: Tensor, tau: float, rounds: int) -> Tensor:
    match = differentiable(Sinkhorn(tau=tau, max_iter=rounds, tol=0.0), estimator)
    return match(Problem(NodeEdge(scores))).matching


CONTENDERS: dict[str, Solve] = {
    "implicit": ours,
    "unrolled": ours_unrolled,
    "plain torch": peers.plain_sinkhorn,
    "pygmtools": peers.pygmtools_sinkhorn,
    "POT": peers.pot_sinkhorn,
}


def measure_soft(plan: Plan) -> list[Row]:
    """Rows of every case, forward, with the gradient, and the memory of one case."""
    cases = ((4, 8, 10),) if plan.quick else CASES
    rows = [
        row for one in cases for row in [*soft_rows(plan, one, backward=False), *soft_rows(plan, one, backward=True)]
    ]
    return rows + memory(plan, (2, 32, 20) if plan.quick else MEMORY_CASE)


def soft_rows(plan: Plan, size: tuple[int, int, int], *, backward: bool) -> list[Row]:
    batch, n, rounds = size
    part, name = f"sinkhorn {'gradient' if backward else 'forward'}", f"{batch}x{n} {rounds} rounds"
    plan.say(f"{part}, {name}")
    scores, weights = draw_weighted_scores(batch, n, plan.seed)
    missing = peers.missing(list(CONTENDERS))
    chosen = {key: solve for key, solve in CONTENDERS.items() if key not in missing}
    step = gradient if backward else forward
    timings = race({key: partial(step, solve, scores, weights, rounds) for key, solve in chosen.items()}, plan.budget)
    wanted = timings["plain torch"].result
    rows = [
        Row(part, name, key, timing, {"difference": float((timing.result - wanted).norm() / wanted.norm())})
        for key, timing in timings.items()
    ]
    return rows + absent(part, name, missing)


def draw_weighted_scores(batch: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scores between -1 and 1, as cosines are, and the weights of a linear loss."""
    generator = torch.Generator().manual_seed(seed)
    scores, weights = (2 * torch.rand(batch, n, n, generator=generator) - 1 for _ in range(2))
    return scores, weights


def forward(solve: Solve, scores: Tensor, weights: Tensor, rounds: int) -> Tensor:
    with torch.no_grad():
        return solve(scores, TAU, rounds)


def gradient(solve: Solve, scores: Tensor, weights: Tensor, rounds: int) -> Tensor:
    leaf = scores.detach().requires_grad_()
    (found,) = torch.autograd.grad(solve(leaf, TAU, rounds), leaf, weights)
    leaf.requires_grad_(False)
    return found


def memory(plan: Plan, size: tuple[int, int, int]) -> list[Row]:
    """What one forward and backward pass takes at its peak, each in a process of its own."""
    name = f"{size[0]}x{size[1]} {size[2]} rounds"
    plan.say(f"memory of sinkhorn, {name}")
    wanted = ["implicit"] if plan.quick else list(CONTENDERS)
    missing = peers.missing(wanted)
    chosen = [key for key in wanted if key not in missing]
    rows = [Row("sinkhorn memory", name, key, None, {"mb": peak_mb("sinkhorn", key, *size)}) for key in chosen]
    return rows + absent("sinkhorn memory", name, missing)


def soft_step(contender: str, batch: int, n: int, rounds: int) -> Callable[[], Tensor]:
    """The step whose memory is measured, with everything imported and the inputs made."""
    solve = CONTENDERS[contender]
    gradient(solve, *draw_weighted_scores(1, 4, 0), 2)
    return partial(gradient, solve, *draw_weighted_scores(batch, n, 0), rounds)
