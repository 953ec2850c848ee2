"""Complete graphs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .modality_graph import ModalityGraph


@dataclass(frozen=True)
class Complete:
    r"""Connects every node with every other, in both directions; one node has no edge.

    When to use it: for small graphs, where the choice of neighbours would be as good as random.

    Cost: $n (n - 1)$ edges, so that a second-order problem has $n^2 (n - 1)^2$ edge scores: 58,000 at 16 nodes, a
    million at 32.

    Example:
        >>> import torch
        >>> Complete()(torch.zeros(3, 8)).edge_index
        tensor([[1, 2, 0, 2, 0, 1],
                [0, 0, 1, 1, 2, 2]])
    """

    def __call__(self, x: Tensor) -> ModalityGraph:
        """Returns the graph of the nodes `(*b, n, d)`, its edges ordered by target and then by source."""
        n = x.shape[-2]
        target, source = (~torch.eye(n, dtype=torch.bool, device=x.device)).nonzero(as_tuple=True)
        return ModalityGraph(x, torch.stack([source, target]).expand(*x.shape[:-2], 2, n * (n - 1)))
