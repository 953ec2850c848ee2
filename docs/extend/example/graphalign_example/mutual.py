"""Graphs of nodes that are neighbours of each other."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphalign import KNN, ModalityGraph


@dataclass(frozen=True)
class Mutual:
    """Nearest neighbours of each other: both nodes are among the k nearest of the other one."""

    k: int = 5

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> ModalityGraph:
        graph = KNN(self.k)(x, mask)
        source, target = graph.edge_index.unbind(-2)
        n = x.shape[-2]
        there, back = source * n + target, target * n + source
        known = torch.zeros(*x.shape[:-2], n * n, dtype=torch.bool, device=x.device).scatter(-1, there, True)
        mutual = known.gather(-1, back)
        return replace(graph, edge_mask=mutual if graph.edge_mask is None else mutual & graph.edge_mask)
