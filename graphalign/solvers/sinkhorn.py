"""Entropic linear assignment: the relaxed matching that has a gradient of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_count, check_not_negative, check_positive
from ..compatibility import SolverTraits
from ..factors import Factors
from ..problem import NodeEdge, Problem, Solution
from .blocked_sinkhorn import BlockedKernel, FactoredPlan, blocked_plan
from .potentials import LOG_ZERO, log_plan, shut
from .preparation import divided, settle
from .scaling import scaled_plan
from .sensitivity import plan_vjp


@dataclass(frozen=True)
class Sinkhorn(SolverTraits):
    r"""Sinkhorn's algorithm: the relaxed matching that balances score and entropy.

    $$\max_X \; \langle S, X\rangle - \tau \sum_{ia} X_{ia} (\log X_{ia} - 1),
      \qquad X\mathbf 1 = a,\; X^\top\mathbf 1 = b$$

    Solved by alternating updates of the potentials $f$ and $g$, with $X = \exp(S/\tau + f + g)$: as scalings of a fixed
    kernel, which is fast, or, where autograd records the rounds, in the log domain; up to `tol` the plan is the same.
    Neither overflows while $S/\tau$ does not. Rectangular, padded and partial problems get one slack row and one
    slack column, whose entries count in the entropy too; a padded node is one of mass zero.

    When to use it: where a gradient of the relaxed problem itself is wanted, or a soft matching. `implicit` is the
    estimator to take; `unrolled` takes the slow route. Mind `Solution.converged`: for small `tau` some hundred rounds
    may not suffice.

    Scores that are not written out (`Factors`) give a plan that is not either, a `FactoredPlan`: blocks of rows are
    computed in each round, in the log domain, and again for the gradient, which flows to the features.

    Cost: one round is two products of the $n m$ kernel with a vector; unrolled, four passes with exponentials, and
    autograd keeps every round in memory.

    Args:
        tau: Temperature, in units of the scores. Small: close to the exact matching, slow to converge, steep gradients.
        max_iter: Most rounds (a row and a column update each).
        tol: Largest error of a row's sum (for the slack: relative to its mass) at which a problem counts as converged;
            its rounds then stop, without regard to its neighbours in the batch; looked at every fourth round. With 0
            all `max_iter` rounds are made. Errors of 16 units in the last place always count as none.

    Raises:
        ValueError: The scores, divided by `tau`, leave the range of their dtype; or all pairs of a node of `Factors`
            that needs a partner are forbidden.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, Sinkhorn
        >>> Sinkhorn(tau=1.0)(Problem(NodeEdge(torch.tensor([[1.0, 0.0], [0.0, 1.0]])))).matching
        tensor([[0.7311, 0.2689],
                [0.2689, 0.7311]])

    References:
        Cuturi, "Sinkhorn distances", NeurIPS 2013, eq. 2; Peyré and Cuturi, "Computational optimal transport", 2019,
        section 4.4 (log domain); Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport
        problems", SISC 2019, section 3 (absorption).
    """

    tau: float = 0.1
    max_iter: int = 200
    tol: float = 1e-4

    differentiable: ClassVar[bool] = True
    takes_init: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, "tau")
        check_count(self, "max_iter")
        check_not_negative(self, "tol")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch.

        Returns:
            The plan without slack; `residual`, the largest error of a row sum (column sums are exact); `state`, the
            potentials `(f, g)` in units of `tau`, which `Problem.init` takes as a warm start.
        """
        if isinstance(problem, Problem) and isinstance(problem.scores, Factors):
            return self._solve_blocked(problem, problem.scores)
        return settle(problem, self, self._solve)

    def _solve_blocked(self, problem: Problem, scores: Factors) -> Solution:
        """Solve a problem whose scores are not written out; the plan is not written out either."""
        x, seeds = scores.x, problem.seeds
        frame = x.new_zeros(())
        rows, cols = problem.real1().to(frame), problem.real2().to(frame)
        if seeds is not None:
            seeds = seeds[(seeds >= 0).all(-1)]
            rows, cols = rows.index_fill(0, seeds[:, 0], 0.0), cols.index_fill(0, seeds[:, 1], 0.0)
        forbidden = None if problem.forbidden is None else _forbidden(problem, rows, cols)
        n, m = rows.sum(-1, keepdim=True), cols.sum(-1, keepdim=True)
        alone = None
        whole = problem.mask1 is None and problem.mask2 is None and seeds is None and len(rows) == len(cols)
        if problem.unmatched is not None or not whole:
            first, second = problem.alone()
            alone = first.to(frame), second.to(frame)
            partial = problem.unmatched is not None
            rows = torch.cat([rows, m if partial else (m - n).clamp_min(0)], -1)
            cols = torch.cat([cols, n if partial else (n - m).clamp_min(0)], -1)
        kernel = BlockedKernel(scores, self.tau, alone, forbidden)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            start = _start(problem, cols)
            f, g, error = blocked_plan(kernel, rows, cols, start, self.max_iter, self.tol)
        residual = error.amax()
        converged = residual <= max(self.tol, 16 * torch.finfo(x.dtype).eps)
        return Solution(FactoredPlan(kernel, f, g, seeds), converged, (f, g), residual)

    def _solve(self, problem: Problem) -> Solution:
        scores, a, b = _augment(problem)
        n, m = problem.scores.node.shape[-2:]
        z = divided(scores, self.tau, self)
        if problem.forbidden is not None:
            allowed = problem.allowed()
            shut_out = F.pad(~allowed, (0, z.shape[-1] - m, 0, z.shape[-2] - n))
            z = z.masked_fill(shut_out, LOG_ZERO)
        # Autograd follows potentials; scalings are for all other cases.
        solve = log_plan if z.requires_grad and torch.is_grad_enabled() else scaled_plan
        with torch.autocast(z.device.type, enabled=False):
            plan, f, g = solve(z, a, b, _start(problem, b), self.max_iter, self.tol)
            plan = plan if problem.forbidden is None else plan.masked_fill(shut_out, 0.0)
        residual = ((plan.detach().sum(-1) - a).abs() / a.clamp_min(1)).amax(-1)
        converged = residual <= max(self.tol, 16 * torch.finfo(z.dtype).eps)
        return Solution(NodeEdge(plan[..., :n, :m]), converged, (f.detach(), g.detach()), residual)

    def vjp(self, problem: Problem, solution: Solution, grad: NodeEdge) -> NodeEdge:
        r"""Return the gradient at the scores from the gradient at the plan, by the implicit function theorem.

        At fixed sums of rows $r$ and columns $c$ the plan $X = \exp(S/\tau + f + g)$ moves with the scores and with the
        potentials that keep the sums:

        $$\frac{\partial L}{\partial S} = \frac1\tau X \odot (G - \alpha \mathbf 1^\top - \mathbf 1 \beta^\top),
          \qquad \begin{pmatrix} \mathrm{diag}(r) & X \\ X^\top & \mathrm{diag}(c) \end{pmatrix}
          \begin{pmatrix} \alpha \\ \beta \end{pmatrix} =
          \begin{pmatrix} (X \odot G) \mathbf 1 \\ (X \odot G)^\top \mathbf 1 \end{pmatrix}$$

        $G$ is zero on the slack. For a plan that did not converge, $r$ and $c$ are its actual sums.

        Cost: up to 512 nodes on the smaller side $k$ a factorisation, $n m k + k^3 / 3$; above it some tens of passes
        over the plan, or the factorisation where these do not do. No round is kept in memory.

        Args:
            problem: The problem solved; its warm start has no effect.
            solution: The solver's solution, with its `state`.
            grad: $G$, `(*b, n, m)`.
        """
        n, m = grad.node.shape[-2:]
        plan = _with_slack(problem, solution, self.tau).to(grad.node.dtype)
        weights = F.pad(grad.node, (0, plan.shape[-1] - m, 0, plan.shape[-2] - n))
        # A backward pass may run inside the caller's autocast, which would multiply in half precision.
        with torch.autocast(plan.device.type, enabled=False):
            return NodeEdge(plan_vjp(plan, weights)[..., :n, :m] / self.tau)


def _forbidden(problem: Problem, rows: Tensor, cols: Tensor) -> Tensor:
    """The sorted numbers of forbidden pairs, long `(k,)`; `rows` and `cols` are the masses of nodes.

    Raises:
        ValueError: All partners of a node that needs one are forbidden.
    """
    assert problem.forbidden is not None
    m = len(cols)
    pairs = problem.forbidden.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
    i, j = pairs.indices()[:, pairs.values()]
    open_pair = (rows[i] > 0) & (cols[j] > 0)
    for what, mass, place, others in (("row", rows, i, float(cols.sum())), ("column", cols, j, float(rows.sum()))):
        shut_out = torch.bincount(place[open_pair], minlength=len(mass)) >= others
        bad = (shut_out & (mass > 0)).nonzero()
        if problem.unmatched is None and float(mass.sum()) <= others and len(bad):
            raise ValueError(f"Sinkhorn: {what} {int(bad[0])} finds no partner, as all pairs of it are forbidden")
    keys: Tensor = (i * m + j).sort().values
    return keys


def _with_slack(problem: Problem, solution: Solution, tau: float) -> Tensor:
    """The plan with its slack row and column, if there are any, which the potentials still know up to rounding."""
    f, g = solution.state
    plan, (first, second) = solution.value.node, ((x / tau).to(f) for x in problem.alone())
    if f.shape[-1] == plan.shape[-2]:
        return plan
    plan = F.pad(plan, (0, 1, 0, 1))
    plan[..., :-1, -1] = (first + f[..., :-1] + g[..., -1:]).clamp_max(0.0).exp()
    plan[..., -1, :-1] = (second + f[..., -1:] + g[..., :-1]).clamp_max(0.0).exp()
    plan[..., -1, -1] = (f[..., -1] + g[..., -1]).exp().clamp_max(sum(plan.shape[-2:]))
    return plan


def _start(problem: Problem, b: Tensor) -> Tensor:
    """The column potential to begin with: the warm start's, or zero; columns without mass are shut."""
    g = torch.zeros_like(b)
    if problem.init is not None:
        g = problem.init[1].to(b)
        if g.shape != b.shape:
            raise ValueError(f"the warm start has potentials {tuple(g.shape)}; this problem needs {tuple(b.shape)}")
        g = torch.where(g.isfinite(), g, 0.0)
    return shut(g, b)


def _augment(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and masses, with a slack row and column unless the problem is square and complete.

    The pair of the two slacks scores nothing and a node with a slack scores `unmatched`, so that a pair of nodes
    competes with twice `unmatched`, as `Problem` has it.
    """
    node = problem.scores.node
    rows, cols = problem.real1().to(node), problem.real2().to(node)
    n, m = rows.sum(-1, keepdim=True), cols.sum(-1, keepdim=True)
    square = node.shape[-2] == node.shape[-1] and problem.mask1 is None and problem.mask2 is None
    if square and problem.unmatched is None:
        return node, rows, cols
    padded = F.pad(node, (0, 1, 0, 1))
    if problem.unmatched is not None:
        first, second = problem.alone()
        padded[..., :-1, -1], padded[..., -1, :-1] = first.to(node), second.to(node)
    if problem.unmatched is None:
        spare1, spare2 = (m - n).clamp_min(0), (n - m).clamp_min(0)
    else:
        spare1, spare2 = m, n
    return padded, torch.cat([rows, spare1], -1), torch.cat([cols, spare2], -1)
