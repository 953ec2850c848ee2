import pytest
import torch

from graphalign import KNN


def _points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_neighbours_are_the_nearest_others():
    x = _points(9, 3)
    graph = KNN(k=2)(x)
    for node in range(9):
        distances = (x - x[node]).norm(dim=1)
        distances[node] = torch.inf
        sources = graph.edge_index[0, graph.edge_index[1] == node]
        assert set(sources.tolist()) == set(distances.argsort()[:2].tolist())


def test_a_batch_is_a_loop():
    x = _points(2, 3, 7, 4)
    edges = KNN(k=3)(x).edge_index
    assert edges.shape == (2, 3, 2, 21)
    assert torch.equal(edges[1, 2], KNN(k=3)(x[1, 2]).edge_index)


def test_cosine_neighbours_ignore_length():
    x = torch.tensor([[1.0, 0.0], [100.0, 1.0], [0.9, 0.9]])
    assert KNN(k=1)(x).edge_index[0, 0] == 2
    assert KNN(k=1, metric="cosine")(x).edge_index[0, 0] == 1


def test_small_differences_between_large_features_are_seen():
    x = 1e4 + torch.arange(40.0)[:, None].square() / 100
    sources = KNN(k=1)(x).edge_index[0]
    assert torch.equal(sources[1:], torch.arange(39))


@pytest.mark.parametrize(("n", "edges"), [(1, 0), (2, 2), (5, 20), (6, 30)])
def test_few_nodes_have_all_others_as_neighbours(n, edges):
    assert KNN(k=5)(_points(n, 3)).edge_index.shape == (2, edges)


def test_edge_attributes_are_differences_with_gradient():
    x = _points(2, 5, 3).requires_grad_()
    graph = KNN(k=2)(x)
    source, target = graph.edge_index[1]
    assert torch.equal(graph.edge_attr[1], x[1][source] - x[1][target])
    graph.edge_attr.square().sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 2.5}, {"metric": "manhattan"}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        KNN(**options)
