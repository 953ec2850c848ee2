"""Affinities: from two graphs to the scores of their node pairs and edge pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import check_flag, check_not_negative, check_positive
from .graphs.modality_graph import ModalityGraph
from .problem import NodeEdge

SHORTEST = 1e-2  # of a graph's root-mean-square edge


@dataclass(frozen=True)
class Cosine:
    r"""Cosines of node features and of edges' difference vectors.

    $$S_{ia} = \cos(x_i, y_a), \qquad K_{(ij),(ab)} = w \cos(x_i - x_j,\; y_a - y_b)$$

    An edge between (almost) equal nodes has no direction: one shorter than a hundredth of its graph's root-mean-square
    edge scores zero and has no gradient, which would otherwise grow like the inverse of its length.

    A zero vector has no direction either.

    When to use it: by default. The size of the features, which differs between modalities, has no say.

    Cost: two matrix products, $n m d$ and, in second order, $|E_1| |E_2| d$.

    Args:
        edge_weight: $w$, how much an edge pair counts beside a node pair.

    Raises:
        ValueError: `edge_weight` is negative or not finite.

    Example:
        >>> import torch
        >>> from graphalign import Cosine, KNN
        >>> graph = KNN(k=1)(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        >>> Cosine()(graph, graph, order=2).node
        tensor([[1., 0.],
                [0., 1.]])
    """

    edge_weight: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative(self, "edge_weight")

    def __call__(self, graph1: ModalityGraph, graph2: ModalityGraph, *, order: int = 1) -> NodeEdge:
        """Return node scores `(*b, n, m)` and, with `order=2`, edge scores `(*b, e, f)`."""
        node = _units(graph1.x) @ _units(graph2.x).mT
        if order == 1:
            return NodeEdge(node)
        return NodeEdge(node, self.edge_weight * (_directions(graph1) @ _directions(graph2).mT))


@dataclass(frozen=True)
class InnerProduct:
    r"""Inner products of node features and of edge attributes.

    $$S_{ia} = s \langle x_i, y_a\rangle, \qquad K_{(ij),(ab)} = w s \langle e_{ij}, e_{ab}\rangle, \qquad
      s = d^{-1/2} \text{ if scaled, else } 1$$

    When to use it: where the length of a feature says how sure it is, as that of learned keys and queries does. Scores
    grow with the features, and noise, `tau` and `unmatched` must fit them.

    Cost: that of `cosine`.

    Args:
        edge_weight: $w$, how much an edge pair counts beside a node pair.
        scaled: Whether products are divided by the root of the width $d$ (of nodes and of edges each their own), so
            that those of independent features of unit variance have unit variance.

    Raises:
        ValueError: `edge_weight` is negative or not finite, or `scaled` is not a bool.

    Example:
        >>> import torch
        >>> from graphalign import InnerProduct, KNN
        >>> graph = KNN(k=1)(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        >>> InnerProduct()(graph, graph).node
        tensor([[4., 0.],
                [0., 9.]])
    """

    edge_weight: float = 0.5
    scaled: bool = False

    def __post_init__(self) -> None:
        check_not_negative(self, "edge_weight")
        check_flag(self, "scaled")

    def __call__(self, graph1: ModalityGraph, graph2: ModalityGraph, *, order: int = 1) -> NodeEdge:
        """Return node scores `(*b, n, m)` and, with `order=2`, edge scores `(*b, e, f)`."""
        node = self._products(graph1.x, graph2.x)
        if order == 1:
            return NodeEdge(node)
        return NodeEdge(node, self.edge_weight * self._products(graph1.edge_attr, graph2.edge_attr))

    def _products(self, x: Tensor, y: Tensor) -> Tensor:
        return (x / math.sqrt(x.shape[-1]) if self.scaled else x) @ y.mT


@dataclass(frozen=True)
class Gaussian:
    r"""Gaussian kernels of node features and of edge attributes: near is similar.

    $$S_{ia} = \exp\Bigl(-\frac{\lVert x_i - y_a\rVert^2}{2 \sigma^2}\Bigr), \qquad
      K_{(ij),(ab)} = w \exp\Bigl(-\frac{\lVert e_{ij} - e_{ab}\rVert^2}{2 \sigma^2}\Bigr)$$

    When to use it: for coordinates, such as key points, where distance and not direction counts. Features many sigmas
    apart score zero and have no gradient: choose `sigma` about as large as a usual distance.

    Cost: $n m d$ for the distances, without a matrix product, which would lose the small ones; in second order
    $|E_1| |E_2| d$.

    Args:
        sigma: $\sigma$, in units of the features.
        edge_weight: $w$, how much an edge pair counts beside a node pair.

    Raises:
        ValueError: `sigma` is not above 0, or `edge_weight` is negative, or one is not finite.

    Example:
        >>> import torch
        >>> from graphalign import Gaussian, KNN
        >>> graph = KNN(k=1)(torch.tensor([[0.0], [1.0]]))
        >>> Gaussian(sigma=1.0)(graph, graph).node
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]])
    """

    sigma: float = 1.0
    edge_weight: float = 0.5

    def __post_init__(self) -> None:
        check_positive(self, "sigma")
        check_not_negative(self, "edge_weight")

    def __call__(self, graph1: ModalityGraph, graph2: ModalityGraph, *, order: int = 1) -> NodeEdge:
        """Return node scores `(*b, n, m)` and, with `order=2`, edge scores `(*b, e, f)`."""
        node = self._kernel(graph1.x, graph2.x)
        if order == 1:
            return NodeEdge(node)
        return NodeEdge(node, self.edge_weight * self._kernel(graph1.edge_attr, graph2.edge_attr))

    def _kernel(self, x: Tensor, y: Tensor) -> Tensor:
        precision = torch.promote_types(x.dtype, torch.float32)
        wide = [(z / self.sigma).to(precision) for z in (x, y)]
        distances = torch.cdist(wide[0], wide[1], compute_mode="donot_use_mm_for_euclid_dist")
        return (-0.5 * distances.square()).exp().to(x.dtype)


def _units(x: Tensor) -> Tensor:
    """Vectors `(*b, n, d)` at unit length; zero, and without a gradient, where they have no direction."""
    return F.normalize(torch.where((x == 0).all(-1, keepdim=True), 0.0, x), dim=-1)


def _directions(graph: ModalityGraph) -> Tensor:
    """Edge attributes `(*b, e, d)` at unit length, zero where they are too short to have a direction."""
    edges = graph.edge_attr
    squared = edges.square().sum(-1, keepdim=True)
    floor = (SHORTEST**2 * _mean(squared.detach(), graph.edge_mask)).clamp_min(torch.finfo(edges.dtype).tiny)
    return torch.where(squared > floor, edges * squared.clamp_min(floor).rsqrt(), 0.0)


def _mean(squared: Tensor, edge_mask: Tensor | None) -> Tensor:
    """The mean over real edges, `(*b, 1, 1)`."""
    if edge_mask is None:
        return squared.mean(-2, keepdim=True)
    real = edge_mask[..., None]
    return torch.where(real, squared, 0.0).sum(-2, keepdim=True) / real.sum(-2, keepdim=True).clamp_min(1)


AFFINITIES: dict[str, Any] = {"cosine": Cosine, "gaussian": Gaussian, "inner_product": InnerProduct}
