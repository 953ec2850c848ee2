"""How time grows with the size of the graphs: of a solver alone, and of one step of the alignment loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from graphalign import KNN, AlignmentLoss, NodeEdge, Problem, build, components, differentiable, refusal
from graphalign.bench.instances import noisy_graphs
from graphalign.bench.rows import Plan, Row
from graphalign.bench.timing import Timing, race
from graphalign.compatibility import order_of

SIZES = (16, 32, 64, 128, 256, 512, 1024)
QUICK = ("lap", "faq")
FIT_FROM = 64  # nodes: below, calls cost more than work
SLOWEST = 5_000.0  # milliseconds: no larger size is tried once the next would take longer
WIDTH, VIEWS = 64, ("image", "text", "sound")
ESTIMATORS = ("imle", "implicit", "unrolled")  # the first that fits is taken
Make = Callable[[str, int, int], Callable[[], Any]]


def measure_growth(plan: Plan) -> list[Row]:
    """Rows of every solver that has no limit of nodes, at every size that it reaches."""
    known = {name for name, part in components("solver").items() if getattr(part, "max_nodes", None) is None}
    names = sorted(known & set(QUICK) if plan.quick else known)
    kinds: dict[str, Make] = {"solver": solver_call, "step": step_call}
    return [row for name in names for kind, make in kinds.items() for row in climb(plan, name, kind, make)]


def climb(plan: Plan, name: str, kind: str, make: Make) -> list[Row]:
    """One solver, size by size, until the next size would take too long or fails; then the exponent."""
    sizes = (8, 16) if plan.quick else SIZES
    plan.say(f"growth of the {kind} with {name}")
    reached: list[tuple[int, Timing]] = []
    stopped = ""
    for n in sizes:
        if expected(reached) > SLOWEST:
            stopped = f"{n} nodes would take more than {SLOWEST / 1000:g} s"
            break
        try:
            reached.append((n, race({name: make(name, n, plan.seed)}, plan.budget / 4)[name]))
        except (RuntimeError, MemoryError, ValueError) as error:
            stopped = f"{n} nodes: {(str(error).splitlines() or [type(error).__name__])[0]:.120}"
            break
    rows = [Row(f"growth {kind}", f"{n} nodes", name, timing) for n, timing in reached]
    return [*rows, Row(f"growth {kind}", "exponent", name, None, {**exponent(reached), "stopped": stopped})]


def expected(reached: list[tuple[int, Timing]]) -> float:
    """Milliseconds that the next size may take, by the growth from the last but one to the last."""
    if len(reached) < 2:
        return 0.0
    before, last = reached[-2][1].ms, reached[-1][1].ms
    return last * max(4.0, last / before)


def exponent(reached: list[tuple[int, Timing]]) -> dict[str, Any]:
    """The slope of log time over log nodes by least squares, and from where to where it was fitted."""
    chosen = [(n, t.ms) for n, t in reached if n >= FIT_FROM]
    chosen = chosen if len(chosen) >= 3 else [(n, t.ms) for n, t in reached]
    if len(chosen) < 2:
        return {"exponent": None}
    nodes, ms = np.log(np.array(chosen)).T
    return {"exponent": float(np.polyfit(nodes, ms, 1)[0]), "from": chosen[0][0], "to": chosen[-1][0]}


def solver_call(name: str, n: int, seed: int) -> Callable[[], Any]:
    """The solver alone, on one problem of n nodes, with edges if it reads them."""
    problem, _ = noisy_graphs(n, noise="medium", seed=seed)
    solver = build("solver", name)
    return partial(solver, problem if order_of(solver) == 2 else Problem(NodeEdge(problem.scores.node)))


def step_call(name: str, n: int, seed: int) -> Callable[[], Any]:
    """One forward and backward pass of the alignment loss over three views of n samples."""
    solver = build("solver", name)
    fitting = (build("estimator", text) for text in ESTIMATORS)
    estimator = next(estimator for estimator in fitting if refusal(solver, estimator, n) is None)
    loss = AlignmentLoss(differentiable(solver, estimator), graph=KNN(k=5), barycenter="mean")
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, WIDTH, generator=generator)
    views = {name: shared + torch.randn(n, WIDTH, generator=generator) for name in VIEWS}

    def step() -> None:
        leaves = {name: x.requires_grad_() for name, x in views.items()}
        torch.autograd.grad(loss(leaves, generator=generator).loss, list(leaves.values()))

    return step
