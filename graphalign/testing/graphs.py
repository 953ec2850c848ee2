"""Checks of graphs: each is called with one, and raises AssertionError where it does not hold the property."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..differentiation import differentiable
from ..estimators import IMLE
from ..graphs import ModalityGraph
from ..losses import AlignmentLoss
from ..solvers import FAQ
from .problems import generator, normal
from .require import require, require_a, require_made

#: Called as `graph(x, mask)`, with features `(*b, n, d)` and a bool mask `(*b, n)` or None.
Graph = Callable[..., ModalityGraph]
Edges = set[tuple[int, int]]


def it_returns_a_graph(graph: Graph) -> None:
    """A `ModalityGraph`."""
    require_made(graph, "graph_checks")
    require(callable(graph), f"a graph is called with features; the type {type(graph).__name__} cannot be")
    require_a(ModalityGraph, graph(normal(6, 3)), "a graph returns a ModalityGraph, e.g. ModalityGraph(x, edge_index)")


def edges_join_nodes_that_exist(graph: Graph) -> None:
    """Whole numbers `(*b, 2, e)` from 0 to n - 1, at padded edges too; none from a node to itself; no edge twice."""
    for shape in ((1, 3), (2, 3), (6, 3), (2, 3, 6, 4)):
        found = graph(normal(*shape))
        edges = found.edge_index
        require(edges.dtype == torch.long, f"edge_index must be of whole numbers, torch.long; it is {edges.dtype}")
        require(edges.shape[:-1] == (*shape[:-2], 2), f"nodes {shape[:-1]} give edges of the shape {edges.shape}")
        require(((edges >= 0) & (edges < shape[-2])).all(), f"an edge names a node that {shape[-2]} nodes do not have")
        for one in _items(found):
            source, target = one.edge_index[:, _real(one)]
            require((source != target).all(), "a node is its own neighbour")
            require(len(_edges(one)) == len(source), "an edge stands twice in a graph")


def nodes_are_the_features(graph: Graph) -> None:
    """In their dtype and with their gradient, as the scores are computed from them; the input itself is left alone."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = normal(6, 3).to(dtype).requires_grad_()
        before = x.detach().clone()
        found = graph(x)
        require(found.x.dtype == dtype, f"features in {dtype} give nodes in {found.x.dtype}")
        require(torch.equal(found.x, before) and torch.equal(x, before), "the features have changed")
        require(found.x.requires_grad, "the features have lost their gradient")


def a_batch_is_a_loop(graph: Graph) -> None:
    """Every item of a batch of any shape gets the edges that it gets alone."""
    x = normal(2, 3, 6, 4)
    for one, alone in zip(_items(graph(x)), x.flatten(0, 1), strict=True):
        require(_edges(one) == _edges(graph(alone)), "a graph depends on its neighbours in the batch")


def edges_come_from_the_features(graph: Graph) -> None:
    """Permuting the nodes permutes the edges: rows are the same samples in all modalities, and their numbers the answer
    that a matching is to find."""
    x, order = normal(7, 3), torch.tensor([3, 0, 6, 4, 1, 2, 5])
    moved = {(int(order[source]), int(order[target])) for source, target in _edges(graph(x[order]))}
    require(moved == _edges(graph(x)), "the edges depend on the order of the nodes, which would give the answer away")


def padding_is_as_if_absent(graph: Graph) -> None:
    """A padded graph has the edges of the graph without its padded nodes, whatever their features are."""
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 1]]).bool()
    x = normal(3, 6, 4)
    found = graph(x.masked_fill(~mask[..., None], torch.nan), mask)
    require(found.mask is not None and torch.equal(found.mask, mask), "the graph has lost the mask of its nodes")
    require((found.x[~mask] == 0).all(), "features at padded nodes are not zero")
    for item, one in enumerate(_items(found)):
        kept = mask[item].nonzero()[:, 0].tolist()
        alone = {(kept[source], kept[target]) for source, target in _edges(graph(x[item][mask[item]]))}
        require(_edges(one) == alone, "padding changes the edges of the real nodes")


def graphs_are_aligned(graph: Graph) -> None:
    """`AlignmentLoss` with a second-order solver takes the graphs, and every modality gets a finite gradient."""
    views = {name: normal(5, 3, seed=seed).requires_grad_() for seed, name in enumerate(("image", "report"))}
    loss = AlignmentLoss(differentiable(FAQ(), IMLE(samples=2)), graph=graph)
    loss(views, generator=generator()).loss.backward()
    for name, x in views.items():
        require(x.grad is not None and x.grad.isfinite().all(), f"the gradient of {name!r} is not finite")


def _items(graph: ModalityGraph) -> list[ModalityGraph]:
    """The graphs of a batch one by one, or the one graph."""
    if graph.x.dim() == 2:
        return [graph]
    return [one for item in range(len(graph.x)) for one in _items(graph[item])]


def _real(graph: ModalityGraph) -> Tensor:
    """Which edges of one graph are real, `(e)`."""
    return torch.ones_like(graph.edge_index[0], dtype=torch.bool) if graph.edge_mask is None else graph.edge_mask


def _edges(graph: ModalityGraph) -> Edges:
    """The real edges of one graph as pairs (source, target)."""
    return {(source, target) for source, target in graph.edge_index[:, _real(graph)].T.tolist()}


GRAPH_CHECKS: tuple[Callable[[Graph], None], ...] = (
    it_returns_a_graph,
    edges_join_nodes_that_exist,
    nodes_are_the_features,
    a_batch_is_a_loop,
    edges_come_from_the_features,
    padding_is_as_if_absent,
    graphs_are_aligned,
)
