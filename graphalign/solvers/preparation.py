"""What every solver does first and last: refuse what it cannot solve, and work in at least float32."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..compatibility import order_of, solvers_with
from ..problem import NodeEdge, Problem


def prepare_problem(problem: Problem, solver: Any) -> Problem:
    """Returns the problem as `solver` computes it: checked, zero on padding, in at least float32.

    Args:
        problem: What is to be solved.
        solver: Who asks; its `order` and `max_nodes` say what it can solve.

    Raises:
        TypeError: It is no problem, but e.g. a tensor.
        ValueError: Edge scores for a first-order solver, too many nodes, or a score that is not finite.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem
        >>> half = torch.tensor([[0.5, torch.nan]], dtype=torch.bfloat16)
        >>> working = prepare_problem(Problem(NodeEdge(half), mask2=torch.tensor([True, False])), Lap())
        >>> working.scores.node
        tensor([[0.5000, 0.0000]])
    """
    name, limit = type(solver).__name__, getattr(solver, "max_nodes", None)
    check_problem(problem, f"{name}()")
    node = problem.scores.node
    if problem.scores.edge is not None and order_of(solver) == 1:
        raise ValueError(
            f"{name} is a first-order solver and cannot use edge scores: use a second-order solver "
            f"({', '.join(solvers_with(order=2))}) or drop the edge scores, Problem(NodeEdge(scores.node))."
        )
    if limit is not None and max(node.shape[-2:]) > limit:
        raise ValueError(
            f"{name} enumerates every matching and takes graphs of at most {limit} nodes; got {tuple(node.shape[-2:])}."
        )
    precision, working = torch.promote_types(node.dtype, torch.float32), problem
    if precision != node.dtype:
        working = problem.with_scores(problem.scores.to(precision), problem.init)
    working = working.masked()
    check_finite_scores(name, working.scores)
    for part, given in (
        ("forbidden pairs", working.forbidden),
        ("seeds", working.seeds),
        ("factors of edge scores", working.scores.factors),
        ("scores of staying alone for each node", working.unmatched if isinstance(working.unmatched, tuple) else None),
    ):
        if given is not None:
            raise ValueError(f"{name} takes no {part}.")
    return working


def check_problem(problem: object, caller: str) -> None:
    """Raises TypeError where a solver is called with anything but a `Problem`."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"{caller} is called with a Problem, not with a {type(problem).__name__}, e.g. "
            f"{caller}(Problem(NodeEdge(scores)))."
        )


def check_finite_scores(caller: str, scores: NodeEdge) -> None:
    """Raises ValueError where a score is not finite; on a GPU it waits for the scores."""
    for part, x in zip(("node", "edge"), scores.tensors(), strict=False):
        # One number that is not finite makes the sum so; the sum of large ones may overflow.
        if not math.isfinite(float(x.detach().sum())) and not bool(x.isfinite().all()):
            bad = (~x.isfinite()).nonzero().tolist()
            raise ValueError(
                f"{caller} got {len(bad)} {part} scores that are not finite (of {x.numel()}), the first at {bad[0]}. "
                f"Look for a division by zero or an overflow before the solver; to forbid nodes use mask1 and mask2, "
                f"not infinite scores."
            ) from None


def in_range(problem: Problem) -> Problem:
    """Returns the problem, scaled by a power of two where sums of its scores could overflow float64.

    The optimum is the same; only numbers that are smaller than the largest by some 300 orders of magnitude lose digits.
    """
    parts = [x for x in problem.scores.detach().tensors() if x.dtype == torch.float64 and x.numel()]
    alone = problem.unmatched or 0.0
    if max([abs(alone), *(float(x.abs().amax()) for x in parts)]) <= 2.0**900:
        return problem
    shrunk = None if problem.unmatched is None else alone * 2.0**-200
    return replace(problem, scores=problem.scores * 2.0**-200, unmatched=shrunk)


def divided(scores: Tensor, tau: float, solver: Any) -> Tensor:
    r"""Returns $S / \tau$, where it and the potentials that go with it stay in the range of the dtype.

    Potentials are sums of up to $n + m$ differences of scores.

    Raises:
        ValueError: They would overflow, and the plan would be NaN.
    """
    z = scores / tau
    limit = torch.finfo(z.dtype).max / (4 * sum(z.shape[-2:]))
    if z.numel() and float(z.detach().abs().amax()) > limit:
        raise ValueError(
            f"{type(solver).__name__}: scores as large as {float(scores.detach().abs().amax()):.1e} overflow "
            f"{str(z.dtype).removeprefix('torch.')} at tau={tau}: scale the scores, or raise tau."
        )
    return z


def items(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the node scores `(B, n, m)` and masks `(B, n)`, `(B, m)` with the batch in one dimension."""
    n, m = problem.scores.node.shape[-2:]
    return problem.scores.node.reshape(-1, n, m), problem.real1().reshape(-1, n), problem.real2().reshape(-1, m)
