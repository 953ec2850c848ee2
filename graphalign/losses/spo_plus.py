"""The SPO+ loss: a convex bound on what deciding by the wrong scores costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..arguments import check_callable, check_positive
from ..differentiation import Solver, solve
from ..metrics import objective
from ..problem import NodeEdge, Problem
from ..solvers import Lap
from .fenchel_young import value_of

DEFAULT_SOLVER = Lap()


@dataclass(frozen=True)
class SPOPlus:
    r"""Smart predict-then-optimise (SPO+): learns scores whose best matching is good by the true scores.

    The regret of the scores $\theta$ under the true scores $c$, with $y^\star(c)$ as target $T$, is
    $\langle c, T\rangle - \langle c, y^\star(\theta)\rangle$, piecewise constant in $\theta$. Its convex upper bound
    and the bound's subgradient are

    $$L(\theta; c) = \max_{y \in \mathcal M} \langle 2\theta - c,\, y\rangle - 2\langle\theta, T\rangle
      + \langle c, T\rangle, \qquad
      \frac{\partial L}{\partial\theta} = 2 \bigl(y^\star(2\theta - c) - T\bigr)$$

    The paper minimises costs $-c$ and $-\theta$, hence the signs. In other words, $L$ is what the best matching of
    $2\theta - c$ gains over $T$ there: never negative, and 0 at $\theta = c$. It is a bound since the maximum is at
    least its value at $y^\star(\theta)$, where $\langle\theta, y^\star(\theta)\rangle \ge \langle\theta, T\rangle$.

    Where only the target is known, the true scores are the target itself times `margin`, $c = \mu T$: each pair of
    $T$ that $y$ misses costs $\mu$. The loss then is twice the hinge loss of structured prediction with half that
    margin,

    $$L(\theta; \mu T) = 2 \max_{y \in \mathcal M} \Bigl( \langle\theta, y\rangle
      + \tfrac\mu2 \langle T, T - y\rangle \Bigr) - 2\langle\theta, T\rangle ,$$

    and 0 exactly where $T$ beats every other matching by $\mu / 2$ for each pair that it misses. With `unmatched` $= u$
    such true scores have the optimum $T$ if $0 \le 2 u \le \mu$.

    When to use it: where true scores, or at least the target, are known and no noise is wanted; `FenchelYoung` is the
    smooth alternative.

    Cost: one solution; the gradient needs no estimator.

    Args:
        solver: Any callable `Problem -> Solution`; with one that is not exact the value is a lower bound.
        margin: $\mu$, in units of the scores; without meaning where true scores are given.

    Raises:
        ValueError: `solver` cannot be called, or `margin` is not above 0.

    Example:
        >>> import torch
        >>> from graphalign import NodeEdge, Problem, SPOPlus
        >>> scores = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
        >>> value = SPOPlus()(Problem(NodeEdge(scores)), torch.eye(2))
        >>> value.backward()
        >>> value.item(), scores.grad
        (6.0, tensor([[-2.,  2.],
                [ 2., -2.]]))

    References:
        Elmachtoub and Grigas, "Smart 'predict, then optimize'", Management Science 2022, definition 3 and
        proposition 3; for the margin: Tsochantaridis et al., "Large margin methods for structured and interdependent
        output variables", JMLR 2005.
    """

    solver: Solver = DEFAULT_SOLVER
    margin: float = 1.0

    def __post_init__(self) -> None:
        check_callable(self, "solver", "Lap()")
        check_positive(self, "margin")

    def __call__(
        self,
        problem: Problem,
        target: Tensor,
        *,
        true_scores: NodeEdge | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Return the losses `(*b)`, in at least float32.

        Args:
            problem: The scores, with the constraints of the matching.
            target: $T$, a 0/1 matching `(*b, n, m)`, broadcast; zero on padding.
            true_scores: $c$, with the parts and shapes of the scores, of which the target is the best matching; None
                for `margin` times the target.
            generator: Not used; the loss draws no noise.

        Raises:
            ValueError: `true_scores` have other parts or another shape than the scores.
        """
        node = problem.scores.node
        with torch.autocast(node.device.type, enabled=False):
            working = problem.with_scores(problem.scores.to(torch.promote_types(node.dtype, torch.float32))).masked()
            if working.scores.factors is not None:
                raise ValueError("SPOPlus subtracts true scores from a table of edge scores, and these are factors")
            wanted = value_of(working, target)
            truth = wanted * self.margin if true_scores is None else _fitting(working, true_scores)
            moved = working.with_scores(working.scores * 2.0 - truth).masked()
            best = solve(self.solver, moved, moved.scores.detach()).value
            return objective(moved, best) - objective(moved, wanted)


def _fitting(problem: Problem, true_scores: NodeEdge) -> NodeEdge:
    """The true scores in the dtype of the problem's, without their history."""
    given, needed = ([tuple(x.shape) for x in part.tensors()] for part in (true_scores, problem.scores))
    if given != needed:
        raise ValueError(f"`true_scores` need the shapes {needed} of the scores' parts; got {given}")
    return true_scores.detach().to(problem.scores.node.dtype)
