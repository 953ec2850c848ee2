"""Graphs of the pairs that are near enough."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import check_count, check_finite, check_positive
from .distances import between_others, distances, real_nodes
from .modality_graph import ModalityGraph


@dataclass(frozen=True)
class Threshold:
    r"""Connects the nodes that are near enough, in both directions.

    $$(i, j) \in E \iff i \ne j, \quad \lVert x_i - x_j\rVert \le \text{radius}, \quad
      \cos(x_i, x_j) \ge \text{cosine}$$

    An edge must meet the bounds that are given; without any, every pair is one. The choice carries no gradient. A node
    far from all others has no edge, and graphs of one batch differ in their number of edges: all are padded to the
    largest, and `edge_mask` says which edges are real.

    When to use it: where similarity has a scale that means something, so that a dense region should have more edges
    than a sparse one. `knn` else, whose number of edges is known beforehand.

    Cost: the $n^2$ distances of every graph. Up to $n (n - 1)$ edges, or $n \cdot$ `max_neighbors`; a second-order
    problem keeps the product of both graphs' padded edge numbers, so one dense graph makes the whole batch large: bound
    it by `max_neighbors`. On a GPU, to know the largest number of edges waits for the device.

    Args:
        radius: Largest Euclidean distance, in units of the features; None for no such bound.
        cosine: Smallest cosine, from -1 to 1; a zero vector has the cosine 0 with all. None for no such bound.
        max_neighbors: A node keeps at most so many neighbours, the nearest ones (by the cosine where that is the only
            bound); the edge back stays only if the neighbour keeps the node too. None for all.

    Raises:
        ValueError: `radius` is not above 0, `cosine` not from -1 to 1, or `max_neighbors` no whole number above 0.

    Example:
        >>> import torch
        >>> from graphalign import Threshold
        >>> graph = Threshold(radius=1.5)(torch.tensor([[[0.0], [1.0], [5.0]], [[0.0], [1.0], [2.0]]]))
        >>> graph.edge_index[1]
        tensor([[1, 0, 2, 1],
                [0, 1, 1, 2]])
        >>> graph.edge_mask
        tensor([[ True,  True, False, False],
                [ True,  True,  True,  True]])
    """

    radius: float | None = None
    cosine: float | None = None
    max_neighbors: int | None = None

    def __post_init__(self) -> None:
        if self.radius is not None:
            check_positive(self, "radius")
        if self.cosine is not None:
            check_finite(self, "cosine")
            if not -1 <= self.cosine <= 1:
                raise ValueError(f"Threshold: cosine must lie between -1 and 1, not {self.cosine!r}")
        if self.max_neighbors is not None:
            check_count(self, "max_neighbors")

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> ModalityGraph:
        """Return the graph of the nodes, its edges ordered by target and then by source.

        Args:
            x: Node features `(*b, n, d)`.
            mask: Bool `(*b, n)`, True at real nodes; None if all are. A padded node has no edge, and its features
                become zero.
        """
        x, mask = real_nodes(x, mask)
        edge_index, edge_mask = _packed(self._adjacency(x, between_others(x, mask)))
        return ModalityGraph(x, edge_index, mask, edge_mask)

    def _adjacency(self, x: Tensor, near: Tensor) -> Tensor:
        """Bool `(*b, n, n)`: whether the node of a row has that of a column as a neighbour."""
        by_cosine = self.cosine is not None and self.radius is None
        far = distances(x, "cosine" if by_cosine else "euclidean")
        if self.radius is not None:
            near = near & (far <= self.radius)
        if self.cosine is not None:
            angles = far if by_cosine else distances(x, "cosine")
            near = near & (angles.square() <= 2 - 2 * self.cosine)
        if self.max_neighbors is None or self.max_neighbors >= x.shape[-2]:
            return near
        nearest = far.masked_fill(~near, torch.inf).topk(self.max_neighbors, largest=False).indices
        return near & torch.zeros_like(near).scatter(-1, nearest, True)


def _packed(adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """Edges `(*b, 2, e)` and their mask `(*b, e)` with the e of the graph that has most; padding is from 0 to 0."""
    batch, n = adjacency.shape[:-2], adjacency.shape[-1]
    flat = adjacency.reshape(batch.numel(), n * n)
    edges = int(flat.sum(-1).max()) if flat.numel() else 0
    graph, place = flat.nonzero(as_tuple=True)
    packed = place.new_zeros(len(flat), edges)
    packed[graph, (flat.cumsum(-1) - 1)[graph, place]] = place
    mask = torch.arange(edges, device=flat.device) < flat.sum(-1, keepdim=True)
    edge_index = torch.stack([packed % n, packed // n], -2)
    return edge_index.reshape(*batch, 2, edges), mask.reshape(*batch, edges)
