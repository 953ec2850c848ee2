"""Complete graphs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .distances import real_nodes
from .modality_graph import ModalityGraph


@dataclass(frozen=True)
class Complete:
    r"""Connects every node with every other, in both directions; one node has no edge.

    When to use it: for small graphs, where the choice of neighbours would be as good as random.

    Cost: $n (n - 1)$ edges, so that a second-order problem has $n^2 (n - 1)^2$ edge scores: 58,000 at 16 nodes, a
    million at 32.

    Example:
        >>> import torch
        >>> from graphalign import Complete
        >>> Complete()(torch.zeros(3, 8)).edge_index
        tensor([[1, 2, 0, 2, 0, 1],
                [0, 0, 1, 1, 2, 2]])
    """

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> ModalityGraph:
        """Return the graph of the nodes, its edges ordered by target and then by source.

        Args:
            x: Node features `(*b, n, d)`.
            mask: Bool `(*b, n)`, True at real nodes; None if all are. A padded node has no edge, and its features
                become zero; `edge_mask` then says which edges are real.
        """
        x, mask = real_nodes(x, mask)
        n = x.shape[-2]
        target, source = (~torch.eye(n, dtype=torch.bool, device=x.device)).nonzero(as_tuple=True)
        edge_mask = None if mask is None else mask[..., source] & mask[..., target]
        edges = torch.stack([source, target]).expand(*x.shape[:-2], 2, n * (n - 1))
        return ModalityGraph(x, edges, mask, edge_mask)
