"""Every check of graphs finds the fault that it is there for."""

from dataclasses import replace

import pytest
import torch

from graphalign import KNN, ModalityGraph
from graphalign.testing import graph_checks

KNOWN = KNN(k=2)


def detached(x, mask=None):
    return KNOWN(x.detach(), mask)


def widened(x, mask=None):
    return KNOWN(x.double(), mask)


def loops(x, mask=None):
    graph = KNOWN(x, mask)
    return replace(graph, edge_index=graph.edge_index[..., 1:, :].expand_as(graph.edge_index))


def doubled(x, mask=None):
    graph = KNOWN(x, mask)
    twice = None if graph.edge_mask is None else torch.cat([graph.edge_mask] * 2, -1)
    return replace(graph, edge_index=torch.cat([graph.edge_index] * 2, -1), edge_mask=twice)


def beyond(x, mask=None):
    graph = KNOWN(x, mask)
    return replace(graph, edge_index=graph.edge_index + 1)


def half(x, mask=None):
    graph = KNOWN(x, mask)
    return replace(graph, edge_index=graph.edge_index.int())


def rows(x, mask=None):
    near = torch.arange(x.shape[-2] - 1)
    edges = torch.stack([near, near + 1]).expand(*x.shape[:-2], 2, -1)
    edge_mask = None if mask is None else mask[..., 1:] & mask[..., :-1]
    return ModalityGraph(x if mask is None else torch.where(mask[..., None], x, 0.0), edges, mask, edge_mask)


def first_of_the_batch(x, mask=None):
    graph = KNOWN(x, mask)
    if x.dim() == 2:
        return graph
    return replace(graph, edge_index=graph.edge_index[:1].expand_as(graph.edge_index))


def without_mask(x, mask=None):
    return KNOWN(x)


def with_garbage(x, mask=None):
    return replace(KNOWN(x, mask), x=x)


def steep(x, mask=None):
    return replace(KNOWN(x, mask), x=x + 0 * (x - x.detach()).sqrt())


def bare(x, mask=None):
    return KNOWN(x, mask).edge_index


FAULTS = {
    "it_returns_a_graph": [bare, KNN],
    "edges_join_nodes_that_exist": [loops, doubled, beyond, half],
    "nodes_are_the_features": [detached, widened],
    "a_batch_is_a_loop": [first_of_the_batch],
    "edges_come_from_the_features": [rows],
    "padding_is_as_if_absent": [without_mask, with_garbage],
    "graphs_are_aligned": [steep],
}


@pytest.mark.parametrize(("name", "graph"), [(name, graph) for name, graphs in FAULTS.items() for graph in graphs])
def test_a_fault_is_found(name, graph):
    (check,) = (check for check in graph_checks(graph) if check.name == name)
    with pytest.raises(AssertionError):
        check()


def test_every_check_is_known_to_fail():
    assert list(FAULTS) == [check.name for check in graph_checks(KNOWN)]
