"""Checks of losses of one matching: criteria that solve by themselves, `criterion(problem, target, generator=...)`,
and losses of what was solved, `loss(matching, target)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..losses import AlignmentLoss
from ..problem import NodeEdge, Problem, Solution
from ..solvers import FAQ
from .losses import random_views
from .problems import generator, linear, masks, normal, quadratic
from .require import require, require_a, require_close, require_made

TARGET = torch.eye(5, dtype=torch.float64)[[2, 0, 3, 1]]


def it_is_a_criterion(criterion: Any) -> None:
    """A dataclass with a field `solver` that returns a tensor; a loss over modalities says that it is one."""
    require_made(criterion, "loss_checks")
    require(
        not isinstance(criterion, nn.Module),
        f"{type(criterion).__name__} is a module without `reads_tokens`: a loss over modalities has that attribute, "
        f"False where tokens are averaged first, True where it reads them; a criterion is not a module",
    )
    fields = getattr(criterion, "__dataclass_fields__", {})
    require(
        is_dataclass(criterion) and "solver" in fields,
        "a criterion must be a dataclass with a field `solver`; a loss over modalities has `reads_tokens`",
    )
    losses = criterion(linear(2, 4, 5), TARGET, generator=generator())
    require_a(Tensor, losses, "a criterion returns a tensor, one loss for each problem")


def every_problem_has_a_loss(criterion: Any) -> None:
    """A batch of any shape, in float64, float32 and bfloat16, inside of autocast; the losses are at least float32."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        problem = linear(2, 3, 4, 5)
        problem = problem.with_scores(problem.scores.to(dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = criterion(problem, TARGET, generator=generator())
        require(losses.shape == (2, 3), f"problems (2, 3) give losses of the shape {tuple(losses.shape)}")
        wide = torch.promote_types(dtype, torch.float32)
        require(losses.dtype == wide, f"scores in {dtype} give losses in {losses.dtype} inside of autocast")


def scores_get_a_gradient(criterion: Any) -> None:
    """Finite and not zero, and none at padded nodes; with a second-order solver the edge scores get one too."""
    padded = linear(3, 4, 5, **masks())
    problems = [(criterion, padded), (replace(criterion, solver=FAQ()), quadratic(2, n=4, m=5))]
    for one, problem in problems:
        leaves = problem.scores.map(lambda x: x.detach().clone().requires_grad_())
        target = TARGET * problem.allowed()
        losses = one(problem.with_scores(leaves), target, generator=generator())
        for part, grad in zip(("node", "edge"), torch.autograd.grad(losses.sum(), leaves.tensors()), strict=False):
            require(grad.isfinite().all(), f"the gradient of the {part} scores is not finite")
            require(grad.abs().sum() > 0, f"the {part} scores get no gradient")
            require(part == "edge" or bool((grad[~problem.allowed()] == 0).all()), "padded nodes get a gradient")


def the_target_costs_least(criterion: Any) -> None:
    """Scores that speak for the target lose less than scores that speak against it."""
    found, missed = (criterion(Problem(NodeEdge(c * TARGET)), TARGET, generator=generator()) for c in (9.0, -9.0))
    require(found < missed, f"scores for the target lose {float(found):.3g}, scores against it {float(missed):.3g}")


def noise_comes_from_the_generator(criterion: Any) -> None:
    """Same generator state, same losses; the global generator is not touched."""
    before = torch.get_rng_state()
    first, second = (criterion(linear(2, 4, 5), TARGET, generator=generator()) for _ in range(2))
    require(torch.equal(first, second), "the same generator gives another loss")
    require(torch.equal(before, torch.get_rng_state()), "the global random state was used")


def the_solver_is_a_field(criterion: Any) -> None:
    """`dataclasses.replace(criterion, solver=...)` solves with another one, as training and groups need."""
    asked: list[Problem] = []

    def other(problem: Problem) -> Solution:
        asked.append(problem)
        solution: Solution = criterion.solver(problem)
        return solution

    replace(criterion, solver=other)(linear(2, 4, 5), TARGET, generator=generator())
    require(bool(asked), "the criterion does not solve with the solver in its field")


def alignment_takes_it(criterion: Any) -> None:
    """As the criterion of `AlignmentLoss`, with samples that are interchangeable: every view gets a finite gradient."""
    loss, views = AlignmentLoss(criterion=criterion), random_views(5, 6)
    loss(views, groups=torch.tensor([0, 0, 1, 2, 3]), generator=generator()).loss.backward()
    for name, x in views.items():
        require(x.grad is not None and x.grad.isfinite().all(), f"the gradient of {name!r} is not finite")


CRITERION_CHECKS: tuple[Callable[[Any], None], ...] = (
    it_is_a_criterion,
    every_problem_has_a_loss,
    scores_get_a_gradient,
    the_target_costs_least,
    noise_comes_from_the_generator,
    the_solver_is_a_field,
    alignment_takes_it,
)


# --- losses of a matching -------------------------------------------------------------------------------------------


def it_gives_a_number_for_each_matching(loss: Any) -> None:
    """Any batch shape, in the matching's dtype, with one target for all."""
    require_made(loss, "loss_checks")
    for dtype in (torch.float64, torch.float32):
        losses = loss(_relaxed(2, 3).to(dtype), TARGET.to(dtype))
        require_a(Tensor, losses, "A loss of a matching returns a tensor, one loss for each matching")
        require(losses.shape == (2, 3), f"matchings (2, 3) give losses of the shape {tuple(losses.shape)}")
        require(losses.dtype == dtype, f"matchings in {dtype} give losses in {losses.dtype}")


def correct_matchings_cost_nothing(loss: Any) -> None:
    """The target itself costs 0, a relaxed matching more, one without any correct pair most."""
    right, some, none = (float(loss(x, TARGET)) for x in (TARGET, _relaxed(), _wrong()))
    require(abs(right) < 1e-9, f"a correct matching costs {right:.3g}")
    require(0 < some < none, f"a relaxed matching costs {some:.3g}, a wrong one {none:.3g}")


def correct_pairs_get_a_gradient(loss: Any) -> None:
    """Finite everywhere, also where there is no mass; more mass on a correct pair costs less."""
    for matching in (_relaxed(), _wrong()):
        leaf = matching.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, TARGET), leaf)
        require(gradient.isfinite().all(), "the gradient is not finite")
        require((gradient[TARGET > 0] < 0).all(), "more mass on a correct pair does not cost less")


def interchangeable_partners_share_their_mass(loss: Any) -> None:
    """Where two partners are correct it does not matter which of them has the mass."""
    target = TARGET.clone()
    target[:2, [0, 2]] = 1
    first, second = (loss(TARGET[[0, 1, 2, 3]], target), loss(TARGET[[1, 0, 2, 3]], target))
    require_close(first, second, "Mass on an interchangeable partner costs another amount.")


def _relaxed(*batch: int) -> Tensor:
    return normal(*batch, 4, 5).softmax(-1)


def _wrong() -> Tensor:
    return TARGET.roll(1, 0)


MATCHING_LOSS_CHECKS: tuple[Callable[[Any], None], ...] = (
    it_gives_a_number_for_each_matching,
    correct_matchings_cost_nothing,
    correct_pairs_get_a_gradient,
    interchangeable_partners_share_their_mass,
)
