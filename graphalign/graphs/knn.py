"""Nearest-neighbour graphs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import choice, count
from .modality_graph import ModalityGraph


@dataclass(frozen=True)
class KNN:
    r"""Connects every node with its `k` nearest others; an edge runs from the neighbour to the node.

    The choice of neighbours carries no gradient. With $n \le k$ nodes all others are neighbours; one node has none.

    Cost: the $n^2$ distances of every graph, the whole batch at once.

    Args:
        k: Neighbours of each node.
        metric: `euclidean`, or `cosine` for the distance of directions.

    Example:
        >>> import torch
        >>> KNN(k=1)(torch.tensor([[0.0], [1.0], [5.0]])).edge_index
        tensor([[1, 0, 1],
                [0, 1, 2]])
    """

    k: int = 5
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        count(self, "k")
        choice(self, "metric", ("euclidean", "cosine"))

    def __call__(self, x: Tensor) -> ModalityGraph:
        """Returns the graph of the nodes `(*b, n, d)`, with $n \\min(k, n - 1)$ edges each."""
        n = x.shape[-2]
        k = min(self.k, n - 1)
        near = self._distances(x.detach()).topk(k, largest=False).indices.flatten(-2)
        node = torch.arange(n, device=x.device).repeat_interleave(k).expand_as(near)
        return ModalityGraph(x, torch.stack([near, node], -2))

    def _distances(self, x: Tensor) -> Tensor:
        """Distances `(*b, n, n)`, infinite from a node to itself."""
        points = x.to(torch.promote_types(x.dtype, torch.float32))
        points = F.normalize(points, dim=-1) if self.metric == "cosine" else points
        # The matrix-product formula of cdist loses the small distances that decide who is nearest.
        distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.masked_fill(torch.eye(x.shape[-2], dtype=torch.bool, device=x.device), torch.inf)
