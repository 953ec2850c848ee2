"""Straight-through: a hard matching forward, the gradient of something softer backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Generator

from ..arguments import check_callable
from ..compatibility import name_of, needs_autograd, needs_vjp, order_of
from ..differentiation import Solver, attach_vjp, solve
from ..problem import NodeEdge, Problem, Solution
from .implicit import Implicit
from .unrolled import Unrolled


@dataclass(frozen=True)
class StraightThrough:
    r"""Straight through: passes the gradient on as if the matching were the scores, or as if it were a surrogate's.

    Without a surrogate: $\partial L / \partial\theta = g$. With a differentiable surrogate $\tilde y$:
    $\partial L / \partial\theta = g^\top \partial \tilde y(\theta) / \partial\theta$, by the surrogate's `vjp` if it
    has one, else by autograd.

    When to use it: with `surrogate=sinkhorn(...)` where exact matchings are wanted forward. Without a surrogate take
    `identity`, which costs the same. $g$ is passed on whatever was matched, and that of the Hamming distance is $1/n$
    at the $n (n - 1)$ wrong pairs and $-1/n$ at the $n$ right ones. With cosines as scores and $n > 4$ its descent ends
    with two modalities at opposite poles, where wrong and right pairs alike score $-1$.

    Cost: one solution, and one of the surrogate with its backward pass.

    Args:
        surrogate: A solver that autograd can differentiate, e.g. `Sinkhorn(tau=0.1)`, or None for the identity.

    Raises:
        ValueError: The surrogate is one that autograd cannot differentiate.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem, Sinkhorn, StraightThrough, differentiable
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        >>> match = differentiable(Lap(), StraightThrough(surrogate=Sinkhorn(tau=1.0)))
        >>> matching = match(Problem(NodeEdge(scores))).matching
        >>> matching[0, 0].backward()
        >>> scores.grad
        tensor([[ 0.0983, -0.0983],
                [-0.0983,  0.0983]])

    References:
        Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013.
    """

    surrogate: Solver | None = None

    def __post_init__(self) -> None:
        check_callable(self, "surrogate", "Sinkhorn(tau=0.1)")
        if self.surrogate is not None:
            reason = needs_autograd("the surrogate of straight_through", self.surrogate)
            if reason is not None:
                raise ValueError(reason)

    def refusal(self, solver: Any) -> str | None:
        """Say why this estimator cannot serve `solver`, or None."""
        if self.surrogate is None or order_of(self.surrogate) >= order_of(solver):
            return None
        return (
            f"the surrogate {name_of(self.surrogate)} of straight_through reads no edge scores, but {name_of(solver)} "
            f"is a second-order solver: use straight_through without a surrogate, or a first-order solver."
        )

    def apply(self, solver: Solver, problem: Problem, generator: Generator | None) -> Solution:
        """Solve the problem and attach the surrogate's gradient; draw no noise."""
        hard = solve(solver, problem, problem.scores.detach())
        soft = problem.scores if self.surrogate is None else _relaxed(self.surrogate, problem)
        return attach_vjp(hard, soft, lambda grad: grad)


def _relaxed(surrogate: Solver, problem: Problem) -> NodeEdge:
    """The surrogate's matching with its gradient: of the solution where it knows it, else of the rounds it made."""
    # Rounds that stop early, as at scores of much symmetry, have another gradient than what they converge to.
    rule = Implicit() if needs_vjp("", surrogate) is None else Unrolled()
    return rule.apply(surrogate, problem, None).value
