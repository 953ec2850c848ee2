"""Exact linear assignment by the Jonker-Volgenant method, through lapx: the fastest exact solver here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..problem import NodeEdge, Problem, Solution
from .assignment import Array, assign
from .prepare import prepare


@dataclass(frozen=True)
class Lap:
    r"""The matching of highest total node score, $\max_X \langle S, X\rangle$, exactly and fast.

    When to use it: for training. Same optimum as `hungarian`, several times faster; where several matchings are
    optimal the two may return different ones.

    Cost: $O(n^3)$ in the worst case, close to $O(n^2)$ when the matching is nearly clear; one batched call in float64
    on the CPU, one thread; `lapx` is imported at the first call.

    Raises:
        ImportError: `lapx` is missing, or the older package `lap`, which has the same import name, hides it.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem
        >>> Lap()(Problem(NodeEdge(torch.tensor([[0.9, 0.1, 0.8], [0.8, 0.2, 0.1]])))).matching
        tensor([[0., 0., 1.],
                [1., 0., 0.]])

    References:
        Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
        Computing 1987.
    """

    order: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    max_nodes: ClassVar[int | None] = None

    def __call__(self, problem: Problem) -> Solution:
        """Solves every problem of the batch; see `Problem` for the objective."""
        working = prepare(problem, self)
        return Solution(NodeEdge(assign(working, jonker_volgenant)).to(problem.scores.node.dtype))


def jonker_volgenant(gains: Array) -> Array:
    """The engine: gains `(B, n, m)` to 0/1 matchings `(B, n, m)` with $\\min(n, m)$ pairs each."""
    rows, cols = _lapx().lapjvh_batch(-gains, extend_cost=True, return_cost=False, n_threads=1)
    matched: Array = np.zeros(gains.shape)
    matched[np.arange(len(gains))[:, None], np.stack(rows), np.stack(cols)] = 1.0
    return matched


def _lapx() -> Any:
    """Imports `lap` and makes sure that it is lapx."""
    try:
        import lap
    except ImportError as error:
        raise ImportError("The solver `lap` needs the package lapx: pip install lapx") from error
    if not hasattr(lap, "lapjvh_batch"):
        raise ImportError(
            f"The module `lap` at {lap.__file__} is not lapx 0.11 or newer, which the solver `lap` needs; the older "
            f"package `lap` has the same import name. Run: pip uninstall lap; pip install --force-reinstall lapx"
        )
    return lap
