from functools import partial

import pytest
import torch
from draws import normal

from graphalign import KNN

_points = partial(normal, dtype=torch.float32)


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


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_padded_nodes_are_as_if_absent(metric, k):
    x, mask = _points(2, 6, 3), torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0]]).bool()
    garbage = x.masked_fill(~mask[..., None], torch.nan)
    graph = KNN(k=k, metric=metric)(garbage, mask)
    assert not graph.x[~mask].any()
    for item, real in enumerate(mask):
        kept = real.nonzero()[:, 0]
        alone = KNN(k=k, metric=metric)(x[item][real])
        found = graph.edge_index[item][:, graph.edge_mask[item]]
        assert set(map(tuple, found.T.tolist())) == set(map(tuple, kept[alone.edge_index].T.tolist()))


def test_duplicates_are_neighbours_and_nobody_is_their_own():
    x = torch.ones(4, 2).index_put((torch.tensor(3),), torch.tensor([5.0, 0.0]))
    for metric in ("euclidean", "cosine"):
        sources, targets = KNN(k=2, metric=metric)(x).edge_index
        assert (sources != targets).all()
        assert all(set(sources[targets == node].tolist()) == {0, 1, 2} - {node} for node in range(3))


def test_a_zero_vector_has_no_direction():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert KNN(k=1, metric="cosine")(x).edge_index[0, 1:].tolist() == [2, 1]


def test_masks_that_do_not_fit_are_told():
    with pytest.raises(TypeError, match="boolean"):
        KNN()(_points(4, 2), torch.ones(4))
    with pytest.raises(ValueError, match=r"fit the nodes \(4,\); got \(3,\)"):
        KNN()(_points(4, 2), torch.ones(3).bool())
    assert KNN(k=1)(_points(3, 4, 2), torch.ones(4).bool()).edge_mask.all()
