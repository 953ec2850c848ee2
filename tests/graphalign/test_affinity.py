import pytest
import torch

from graphalign import KNN, Cosine


def test_scores_are_cosines_of_nodes_and_of_edge_differences():
    generator = torch.Generator().manual_seed(0)
    first, second = (KNN(k=2)(torch.randn(5, 3, generator=generator)) for _ in range(2))
    scores = Cosine(edge_weight=0.3)(first, second, order=2)
    cosine = torch.nn.functional.cosine_similarity
    assert scores.node[1, 4].item() == pytest.approx(cosine(first.x[1], second.x[4], dim=0).item(), abs=1e-6)
    edge1 = first.x[first.edge_index[0, 3]] - first.x[first.edge_index[1, 3]]
    edge2 = second.x[second.edge_index[0, 8]] - second.x[second.edge_index[1, 8]]
    assert scores.edge[3, 8].item() == pytest.approx(0.3 * cosine(edge1, edge2, dim=0).item(), abs=1e-6)
    assert Cosine()(first, second).edge is None


def test_equal_nodes_give_finite_gradients():
    x = torch.zeros(4, 3, requires_grad=True)
    graph = KNN(k=2)(x)
    scores = Cosine()(graph, graph, order=2)
    (scores.node.sum() + scores.edge.sum()).backward()
    assert x.grad.isfinite().all()


def test_an_edge_between_near_duplicates_has_no_score_and_no_large_gradient():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    x[1] = x[0] + 1e-6
    x.requires_grad_()
    graph = KNN(k=2)(x)
    other = KNN(k=2)(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)))
    scores = Cosine()(graph, other, order=2)
    short = (graph.edge_attr.norm(dim=-1) < 1e-5).nonzero()[:, 0]
    assert len(short) == 2
    assert not scores.edge[short].any()
    scores.edge.square().sum().backward()
    assert x.grad.abs().max() < 100
