"""Affinities: from two graphs to the scores of their node pairs and edge pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .arguments import not_negative
from .graphs.modality_graph import ModalityGraph
from .problem import NodeEdge


@dataclass(frozen=True)
class Cosine:
    r"""Cosines of node features and of edges' difference vectors.

    $$S_{ia} = \cos(x_i, y_a), \qquad K_{(ij),(ab)} = w \cos(x_i - x_j,\; y_a - y_b)$$

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
        return NodeEdge(node, self.edge_weight * _cosine(graph1.edge_attr, graph2.edge_attr))


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).mT


AFFINITIES: dict[str, Any] = {"cosine": Cosine}
