"""What every solver does first and last: refuse what it cannot solve, and work in at least float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compatibility import order_of, solvers_with
from ..metrics import objective
from ..problem import NodeEdge, Problem, Solution, written_out

LARGEST, SHRINK = 900, 200  # powers of two: what scores need no scaling, and by how much they are scaled
ROUNDING = 8  # digits in the last place that a bound leaves room for


def prepare_problem(problem: Problem, solver: Any) -> Problem:
    """Return the problem as `solver` computes it: checked, zero on padding, in at least float32.

    Args:
        problem: The problem to solve.
        solver: Who asks; its `order` and `max_nodes` say what it can solve.

    Raises:
        TypeError: It is not a problem, but e.g. a tensor.
        ValueError: Edge scores for a first-order solver, too many nodes, or a score, also of staying alone, that is not
            finite.

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
    problem = tabled(problem)
    node = problem.scores.node
    if problem.scores.has_edges and order_of(solver) == 1:
        raise ValueError(
            f"{name} is a first-order solver and cannot use edge scores: use a second-order solver "
            f"({', '.join(solvers_with(order=2))}) or drop the edge scores, Problem(NodeEdge(scores.node))"
        )
    if limit is not None and max(node.shape[-2:]) > limit:
        raise ValueError(
            f"{name} enumerates every matching and takes graphs of at most {limit} nodes; got {tuple(node.shape[-2:])}"
        )
    if problem.init is not None and not getattr(solver, "takes_init", False):
        raise ValueError(
            f"{name} takes no warm start: leave `init` out, or use {', '.join(solvers_with(takes_init=True))}"
        )
    check_finite_alone(name, problem)
    precision, working = torch.promote_types(node.dtype, torch.float32), problem
    if precision != node.dtype:
        working = problem.with_scores(problem.scores.to(precision), problem.init)
    if _is_plain(working):
        return working
    working = working.masked()
    check_finite_scores(name, working.scores)
    if working.seeds is not None:
        working = without_seeds(working)
    if working.forbidden is not None and working.unmatched is None:
        check_feasible(name, working)
    return working


def _is_plain(problem: Problem) -> bool:
    """Whether one look at the node scores shows that nothing is padded, constrained, or not finite."""
    beside = (problem.mask1, problem.mask2, problem.forbidden, problem.seeds)
    if problem.scores.has_edges or any(x is not None for x in beside):
        return False
    return math.isfinite(float(problem.scores.node.detach().sum()))


def settle(problem: Problem, solver: Any, solve: Callable[[Problem], Solution]) -> Solution:
    """Return the solution of a problem by way of what a solver computes with: the frame of every built-in solver.

    Args:
        problem: The problem to solve.
        solver: Who asks.
        solve: From the problem as `prepare_problem` returns it, without seeds, to a solution in its dtype; the edge
            part is left out. Its `objective` and `bound` count for that problem.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem, Solution
        >>> def solve(working):  # of a matrix (2, 2) whose first row and column are fixed
        ...     return Solution(NodeEdge((~working.seeded() & working.allowed()).to(working.scores.node)))
        >>> settle(Problem(NodeEdge(torch.zeros(2, 2)), seeds=[(0, 0)]), Lap(), solve).matching
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_problem(problem, f"{type(solver).__name__}()")
    problem = tabled(problem)
    working = prepare_problem(problem, solver)
    found = solve(working)
    if working is problem and found.bound is not None and found.objective is not None:
        large = problem.scores.node.dtype == torch.float64 or problem.unmatched is not None
        held = not large or _are_finite(found.objective, found.bound)
        return found if held else replace(found, objective=None, bound=None)
    node, total, bound = found.value.node, found.objective, found.bound
    if problem.seeds is not None:
        node = torch.where(problem.seeded(), 1.0, node)
    value = problem.value(node)
    if getattr(solver, "exact", False) and bound is None:
        # What enumeration or an exact algorithm found is its own bound, up to the rounding of the sum.
        total = _total(problem, node)
        bound = total + ROUNDING * torch.finfo(total.dtype).eps * total.abs()
    elif bound is not None and (total is None or problem.seeds is not None):
        whole = _total(problem, node)
        if problem.seeds is not None:
            bound = bound + (whole - (_total(working, found.value.node) if total is None else total))
        total = whole
    if not _are_finite(total, bound):
        total, bound = None, None  # float64 does not hold them, and infinity would be a gap of nothing
    return replace(found, value=value.to(problem.scores.node.dtype), objective=total, bound=bound)


def _are_finite(*sums: Tensor | None) -> bool:
    return all(bool(total.isfinite().all()) for total in sums if total is not None)


def _total(problem: Problem, matching: Tensor) -> Tensor:
    """Score of a matching, in float64 throughout."""
    wide = problem.with_scores(problem.scores.detach().to(torch.float64))
    return objective(wide, wide.value(matching.detach().to(torch.float64)))


def without_seeds(problem: Problem) -> Problem:
    r"""Return the problem between the nodes that no seed fixes, which seeds only score by their edges.

    With $X_0$ the seeds, $q(X_0 + X) = q(X_0) + \langle\nabla q(X_0), X\rangle + q(X)$ for the quadratic part $q$: the
    middle term is a score of nodes.
    """
    seeded, node = problem.seeded(), problem.scores.node
    if problem.scores.has_edges:
        node = node + problem.edge_gradient(seeded.to(node))
        if not bool(node.isfinite().all()):
            if node.dtype != torch.float64:
                return without_seeds(problem.with_scores(problem.scores.to(torch.float64), problem.init))
            raise ValueError("edge scores are so large that sums of them overflow float64: scale the scores down")
    mask1, mask2 = problem.real1() & ~seeded.any(-1), problem.real2() & ~seeded.any(-2)
    scores = replace(problem.scores, node=node)
    return replace(problem, scores=scores, mask1=mask1, mask2=mask2, seeds=None).masked()


def check_feasible(caller: str, problem: Problem) -> None:
    """Raise ValueError where forbidden pairs leave no matching of $\\min(n, m)$ real nodes; name such a node."""
    allowed, (real1, real2) = problem.allowed(), (problem.real1(), problem.real2())
    n, m = real1.sum(-1), real2.sum(-1)
    rows = allowed.sum(-1).masked_fill(~real1, allowed.shape[-1] + allowed.shape[-2]).amin(-1)
    cols = allowed.sum(-2).masked_fill(~real2, allowed.shape[-1] + allowed.shape[-2]).amin(-1)
    # By Hall's theorem: a set of k rows with fewer than k partners has k > rows, and k <= n - cols.
    doubtful = ((rows + cols < torch.minimum(n, m)) & (n > 0) & (m > 0)).reshape(-1).nonzero()[:, 0].tolist()
    size = allowed.shape[-2:]
    if not doubtful:
        return
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    for item in doubtful:
        pairs = allowed.reshape(-1, *size)[item].cpu().numpy()
        turned = bool((n > m).reshape(-1)[item])
        real = (real2 if turned else real1).reshape(-1, size[int(turned)])[item].cpu().numpy()
        partner = maximum_bipartite_matching(csr_array(pairs.T if turned else pairs), perm_type="column")
        lonely = np.flatnonzero(real & (partner < 0))
        if len(lonely):
            where = f" in problem {item} of the batch" if problem.batch_shape.numel() > 1 else ""
            raise ValueError(
                f"{caller}: {'column' if turned else 'row'} {lonely[0]}{where} finds no partner, as forbidden pairs "
                f"leave no matching of all nodes of the smaller side: allow more pairs, or let nodes stay alone "
                f"(unmatched=...)"
            )


def tabled(problem: Problem) -> Problem:
    """Return the problem with a table of node scores, for a solver that needs one."""
    return problem if problem.scores.is_table else written_out(problem)


def check_problem(problem: object, caller: str) -> None:
    """Raise TypeError where a solver is called with anything but a `Problem`."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"{caller} is called with a Problem, not with a {type(problem).__name__}, e.g. "
            f"{caller}(Problem(NodeEdge(scores)))"
        )


def check_finite_scores(caller: str, scores: NodeEdge) -> None:
    """Raise ValueError where a score is not finite; on a GPU it waits for the scores."""
    for part, x in zip(("node", "edge"), scores.tensors(), strict=False):
        # One number that is not finite makes the sum so; the sum of large ones may overflow.
        if not math.isfinite(float(x.detach().sum())) and not bool(x.isfinite().all()):
            bad = (~x.isfinite()).nonzero().tolist()
            raise ValueError(
                f"{caller} got {len(bad)} {part} scores that are not finite (of {x.numel()}), the first at {bad[0]}. "
                f"Look for a division by zero or an overflow before the solver; to forbid nodes use mask1 and mask2, "
                f"to forbid pairs `forbidden` or a node score of -inf"
            ) from None


def check_finite_alone(caller: str, problem: Problem) -> None:
    """Raise ValueError where the score of leaving a real node alone is not finite; on a GPU it waits for tensors."""
    if not isinstance(problem.unmatched, tuple):
        return
    for side, (given, alone) in enumerate(zip(problem.unmatched, problem.alone(), strict=True)):
        if isinstance(given, Tensor) and not bool(alone.isfinite().all()):
            raise ValueError(
                f"{caller} got scores of staying alone that are not finite, in `unmatched[{side}]`: a node that must "
                f"have a partner needs a low score, not an infinite one"
            )


def in_range(problem: Problem) -> Problem:
    """Return the problem, scaled by a power of two where sums of its scores could overflow float64.

    The optimum is the same; only numbers that are about 200 orders of magnitude below the largest lose digits.
    Scaled scores are float64, as in float32 those beside large scores of staying alone would vanish.
    """
    power = excess(problem)
    if not power:
        return problem
    alone, small = problem.alone(), math.ldexp(1.0, -power)
    shrunk = None if problem.unmatched is None else (alone[0] * small, alone[1] * small)
    scores = problem.scores.to(torch.float64)
    edge = None if scores.edge is None else scores.edge * small
    factors = scores.factors
    if factors is not None:
        own = min(power, max(0, _exponent(factors[0])))
        factors = factors[0] * math.ldexp(1.0, -own), factors[1] * math.ldexp(1.0, own - power)
    return replace(problem, scores=NodeEdge(scores.node * small, edge, factors), unmatched=shrunk)


def excess(problem: Problem) -> int:
    """Return by which power of two `in_range` scales a problem down; without factors of edges 0 or always the same."""
    if problem.unmatched is None and not any(x.dtype == torch.float64 for x in problem.scores.tensors()):
        return 0
    power = size_of(problem)
    return max(SHRINK, power - LARGEST) if power > LARGEST else 0


def size_of(problem: Problem) -> int:
    """Return the power of two that no score of a pair of nodes or edges, or of staying alone, exceeds."""
    scores, alone = problem.scores, problem.alone() if problem.unmatched is not None else ()
    sizes = [_exponent(x) for x in (scores.node, scores.edge, *alone) if x is not None]
    if scores.factors is not None:
        first, second = scores.factors
        sizes.append(_exponent(first) + _exponent(second) + first.shape[-1].bit_length())
    return max(sizes)


def _exponent(x: Tensor) -> int:
    return math.frexp(float(x.detach().abs().amax()))[1] if x.numel() else 0


def divided(scores: Tensor, tau: float, solver: Any) -> Tensor:
    r"""Return $S / \tau$, where it and the potentials that go with it stay in the range of the dtype.

    Potentials are sums of up to $n + m$ differences of scores.

    Raises:
        ValueError: They would overflow, and the plan would be NaN.
    """
    z = scores / tau
    limit = torch.finfo(z.dtype).max / (4 * sum(z.shape[-2:]))
    if z.numel() and float(z.detach().abs().amax()) > limit:
        raise ValueError(
            f"{type(solver).__name__}: scores as large as {float(scores.detach().abs().amax()):.1e} overflow "
            f"{str(z.dtype).removeprefix('torch.')} at tau={tau}: scale the scores, or raise tau"
        )
    return z


def items(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Return the node scores `(B, n, m)` and masks `(B, n)`, `(B, m)` with the batch in one dimension."""
    n, m = problem.scores.node.shape[-2:]
    return problem.scores.node.reshape(-1, n, m), problem.real1().reshape(-1, n), problem.real2().reshape(-1, m)
