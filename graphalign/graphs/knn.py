"""Nearest-neighbour graphs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import check_choice, check_count
from .distances import between_others, distances, real_nodes
from .modality_graph import ModalityGraph


@dataclass(frozen=True)
class KNN:
    r"""Connects every node with its `k` nearest others; an edge runs from the neighbour to the node.

    The choice of neighbours carries no gradient. With $n \le k$ nodes all others are neighbours; one node has none.
    Duplicates are neighbours at distance zero; of neighbours equally far away any may be taken.

    When to use it: by default. Every node has as many edges as any other, so that graphs of one size need no padding.

    Cost: the $n^2$ distances of every graph, the whole batch at once; $n k$ edges, so that a second-order problem has
    $n^2 k^2$ edge scores.

    Args:
        k: Neighbours of each node.
        metric: `euclidean`, or `cosine` for the distance of directions, where a zero vector has cosine 0 with all.

    Raises:
        ValueError: `k` is not a whole number of at least 1, or the metric is unknown.

    Example:
        >>> import torch
        >>> from graphalign import KNN
        >>> x = torch.tensor([[0.0], [1.0], [5.0]])
        >>> KNN(k=1)(x).edge_index
        tensor([[1, 0, 1],
                [0, 1, 2]])
        >>> KNN(k=1)(x, mask=torch.tensor([True, True, False])).edge_mask
        tensor([ True,  True, False])
    """

    k: int = 5
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        check_count(self, "k")
        check_choice(self, "metric", ("euclidean", "cosine"))

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> ModalityGraph:
        """Return the graph of the nodes `(*b, n, d)`, with $n \\min(k, n - 1)$ edges each.

        Args:
            x: Node features `(*b, n, d)`.
            mask: Bool `(*b, n)`, True at real nodes; None if all are. A padded node has no edge and is nobody's
                neighbour, and its features become zero; `edge_mask` then says which edges are real.
        """
        x, mask = real_nodes(x, mask)
        n = x.shape[-2]
        k = min(self.k, n - 1)
        others = between_others(x, mask)
        near = distances(x, self.metric).masked_fill(~others, torch.inf).topk(k, largest=False).indices
        node = torch.arange(n, device=x.device).repeat_interleave(k).expand_as(near.flatten(-2))
        edge_mask = None if mask is None else others.gather(-1, near).flatten(-2)
        return ModalityGraph(x, torch.stack([near.flatten(-2), node], -2), mask, edge_mask)
