"""Identity: the solver counts as the identity on the backward pass, behind a projection of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from ..arguments import check_flag
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution


@dataclass(frozen=True)
class Identity:
    r"""The identity with a projection: passes on the part of the gradient that can change the solver's answer.

    $$\frac{\partial L}{\partial\theta} = \Bigl(\frac{\partial P}{\partial\theta}\Bigr)^{\!\top} g, \qquad
      P(\theta) = \frac{\theta - \bar\theta}{\lVert\theta - \bar\theta\rVert}$$

    $\bar\theta$ is the mean of the node scores of real pairs, one for each problem; the norm is that of node and edge
    parts together. A matching of a fixed number of pairs is the same for $\theta$, $\theta + c$ and $c\,\theta$, so
    $P$ leaves the forward pass alone; backward, it removes what the solver cannot see: the gradient is orthogonal to
    the constant vector and to $\theta - \bar\theta$, and so cannot shrink all scores to zero. Edge scores are not
    centred, as the number of matched edges is not fixed. With `unmatched` neither invariance holds, and $P$ is left
    out; a relaxed solver such as `sinkhorn` sees the scale of the scores, which the projection then hides.

    The paper minimises, where the derivative is the *negative* identity; scores are maximised here, which takes the
    sign away. `project=False` therefore is `straight_through` without a surrogate; the projection is what is new.

    When to use it: with exact solvers, where a cheap gradient without a step or noise to choose is wanted.

    Cost: one solution.

    Args:
        project: Whether the projection is there.

    Raises:
        ValueError: `project` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import Identity, Lap, NodeEdge, Problem, differentiable
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]], requires_grad=True)
        >>> match = differentiable(Lap(), Identity())
        >>> match(Problem(NodeEdge(scores))).matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.2500,  0.0000],
                [ 0.0000, -0.2500]])

    References:
        Sahoo et al., "Backpropagation through combinatorial algorithms: identity with projection works", ICLR 2023.
        Its margin by noise is not part of this estimator.
    """

    project: bool = True

    def __post_init__(self) -> None:
        check_flag(self, "project")

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem and attach the gradient of the projected scores; draw no noise."""
        hard = solve(solver, problem, problem.scores.detach())
        invariant = self.project and problem.unmatched is None
        return attach_vjp(hard, _projected(problem) if invariant else problem.scores, lambda grad: grad)


def _projected(problem: Problem) -> NodeEdge:
    """The scores without their mean, at unit length; the problem is zero on padding. All zeros where they are equal."""
    scores, real = problem.scores, problem.allowed()
    pairs = real.sum((-2, -1), keepdim=True).clamp_min(1)
    mean = scores.node.sum((-2, -1), keepdim=True) / pairs
    centred = torch.where(real, scores.node - mean, 0.0)
    squared = centred.square().sum((-2, -1))
    if scores.edge is not None:
        squared = squared + scores.edge.square().sum((-2, -1))
    if scores.factors is not None:
        first, second = (factor.mT @ factor for factor in scores.factors)
        squared = squared + (first * second).sum((-2, -1))
    size = torch.where(squared > 0, squared, 1.0).sqrt()[..., None, None]
    edge = None if scores.edge is None else scores.edge / size
    factors = None if scores.factors is None else (scores.factors[0] / size, scores.factors[1])
    return NodeEdge(centred / size, edge, factors)
