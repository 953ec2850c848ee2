"""Exact linear assignment by the Hungarian method, through pygmtools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .assignment import Array, assign
from .preparation import settle


@dataclass(frozen=True)
class Hungarian(SolverTraits):
    r"""The matching of highest total node score, $\max_X \langle S, X\rangle$, exactly, by the Hungarian method.

    When to use it: the reference, and the choice of papers. `lap` solves the same problem several times faster.

    Cost: $O(n^3)$ in the worst case, one problem after the other, in float64 on the CPU; `pygmtools` is imported at
    the first call. Masks and partial matchings are handled on our side, as the engine knows only prefixes as masks.

    Raises:
        ValueError: A score is not finite, or there are edge scores.

    Example:
        >>> import torch
        >>> from graphalign import Hungarian, NodeEdge, Problem
        >>> Hungarian()(Problem(NodeEdge(torch.tensor([[1.0, 2.0], [3.0, 9.0]])))).matching
        tensor([[1., 0.],
                [0., 1.]])

    References:
        Kuhn, "The Hungarian method for the assignment problem", 1955. Wang et al., "Pygmtools", JMLR 2024.
    """

    exact: ClassVar[bool] = True

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; see `Problem` for the objective."""
        return settle(problem, self, lambda working: Solution(NodeEdge(assign(working, _pygmtools))))


def _pygmtools(gains: Array) -> Array:
    import pygmtools

    # nproc=1: the pool of processes is forked at every call and costs more than it saves
    matched: Array = np.asarray(pygmtools.hungarian(gains, nproc=1, backend="numpy"), dtype=np.float64)
    return matched
