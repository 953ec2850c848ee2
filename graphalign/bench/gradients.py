"""Every estimator beside the exact gradient of small problems."""

from __future__ import annotations

from typing import Any

import torch

from graphalign import Lap, NodeEdge, Problem, Sinkhorn, build, components, differentiable, refusal
from graphalign.bench.exact import Enumerate, all_matchings, gradient_quality
from graphalign.bench.rows import Plan, Row
from graphalign.bench.timing import Timing

PART = "gradients"
SETTINGS = (
    "imle(lam=1, samples=1)",
    "imle(lam=1, samples=10)",
    "imle(lam=10, samples=10)",
    "perturbed(samples=2)",
    "perturbed(samples=10)",
)  # beside every estimator as it is by default


class Counting:
    """A solver that counts the problems that it is given."""

    def __init__(self, solver: Any) -> None:
        self.solver, self.problems = solver, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.solver, name)

    def __call__(self, problem: Problem) -> Any:
        self.problems += problem.batch_shape.numel()
        return self.solver(problem)


def measure_gradients(plan: Plan) -> list[Row]:
    """Rows of every estimator on every problem."""
    specs = sorted({*components("estimator"), *SETTINGS})
    return [row for name, problem in problems(plan).items() for row in gradient_rows(plan, name, problem, specs)]


def problems(plan: Plan) -> dict[str, Problem]:
    """Small enough for every matching to be examined: random, nearly solved, and with edges."""
    generator = torch.Generator().manual_seed(plan.seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    ring = torch.stack([torch.arange(4), torch.arange(1, 5) % 4])
    found = {
        "3x3 random": Problem(NodeEdge(0.3 * normal(3, 3))),
        "4x4 clear": Problem(NodeEdge(0.3 * normal(4, 4) + 0.5 * torch.eye(4, dtype=torch.float64))),
        "3x5 random": Problem(NodeEdge(0.3 * normal(3, 5))),
        "4x4 with edges": Problem(NodeEdge(0.3 * normal(4, 4), 0.3 * normal(4, 4)), edges1=ring, edges2=ring),
    }
    return dict(list(found.items())[:1]) if plan.quick else found


def gradient_rows(plan: Plan, name: str, problem: Problem, specs: list[str]) -> list[Row]:
    plan.say(f"gradients, {name}")
    generator = torch.Generator().manual_seed(plan.seed + 1)
    weights = problem.scores.map(lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype))
    draws = 32 if plan.quick else 2048
    return [gradient_row(name, problem, weights, spec, draws, plan.seed) for spec in specs]


def gradient_row(name: str, problem: Problem, weights: NodeEdge, spec: str, draws: int, seed: int) -> Row:
    estimator = build("estimator", spec)
    try:
        found = gradient_quality(estimator, problem, weights, draws, seed)
        figures = {key: getattr(found, key) for key in ("bias", "std", "cosine")}
        figures["solves"] = solves(estimator, problem, weights)
    except (ValueError, RuntimeError) as error:
        return Row(PART, name, spec, absent=str(error).splitlines()[0])
    return Row(PART, name, spec, Timing(None, found.ms, found.ms, draws), figures)


def solves(estimator: Any, problem: Problem, weights: NodeEdge) -> int:
    """Problems that one step solves, forward and backward."""
    solver: Any = Lap() if problem.scores.edge is None else Enumerate(all_matchings(problem))
    solver = solver if refusal(solver, estimator) is None else Sinkhorn(tau=0.1)
    counting = Counting(solver)
    scores = problem.scores.map(lambda x: x.clone().requires_grad_())
    match = differentiable(counting, estimator)
    value = match(problem.with_scores(scores), generator=torch.Generator().manual_seed(0)).value
    if any(x.requires_grad for x in value.tensors()):
        torch.autograd.backward(list(value.tensors()), list(weights.tensors()))
    return counting.problems
