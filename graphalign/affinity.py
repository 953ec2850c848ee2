"""Affinities: from two graphs to the scores of their node pairs and edge pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import not_negative
from .graphs.modality_graph import ModalityGraph
from .problem import NodeEdge

SHORTEST = 1e-2  # of a graph's root-mean-square edge


@dataclass(frozen=True)
class Cosine:
    r"""Cosines of node features and of edges' difference vectors.

    $$S_{ia} = \cos(x_i, y_a), \qquad K_{(ij),(ab)} = w \cos(x_i - x_j,\; y_a - y_b)$$

    An edge between (almost) equal nodes has no direction: one shorter than a hundredth of its graph's root-mean-square
    edge scores zero and has no gradient, which would otherwise grow like the inverse of its length.

    Args:
        edge_weight: $w$, how much an edge pair counts beside a node pair.
    """

    edge_weight: float = 0.5

    def __post_init__(self) -> None:
        not_negative(self, "edge_weight")

    def __call__(self, graph1: ModalityGraph, graph2: ModalityGraph, *, order: int = 1) -> NodeEdge:
        """Returns node scores `(*b, n, m)` and, with `order=2`, edge scores `(*b, e, f)`."""
        node = _cosine(graph1.x, graph2.x)
        if order == 1:
            return NodeEdge(node)
        return NodeEdge(node, self.edge_weight * (_directions(graph1.edge_attr) @ _directions(graph2.edge_attr).mT))


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT


def _directions(edges: Tensor) -> Tensor:
    """Edges `(*b, e, d)` at unit length, zero where they are too short to have a direction."""
    squared = edges.square().sum(-1, keepdim=True)
    floor = (SHORTEST**2 * squared.detach().mean(-2, keepdim=True)).clamp_min(torch.finfo(edges.dtype).tiny)
    return torch.where(squared > floor, edges * squared.clamp_min(floor).rsqrt(), 0.0)


AFFINITIES: dict[str, Any] = {"cosine": Cosine}
