from functools import partial

import pytest
import torch
from draws import normal

from graphalign import FAQ, KNN, AlignmentLoss, Complete, StraightThrough, Threshold, differentiable

_points = partial(normal, dtype=torch.float32)


def _real(graph):
    """The real edges of one graph, as a set of (source, target)."""
    return {tuple(edge) for edge in graph.edge_index[:, graph.edge_mask].T.tolist()}


def _expected(x, holds):
    nodes = range(len(x))
    return {(i, j) for i in nodes for j in nodes if i != j and holds(x[i], x[j])}


@pytest.mark.parametrize(
    ("graph", "holds"),
    [
        (Threshold(radius=2.0), lambda a, b: (a - b).norm() <= 2.0),
        (Threshold(cosine=0.3), lambda a, b: torch.cosine_similarity(a, b, dim=0) >= 0.3),
        (Threshold(cosine=-0.5), lambda a, b: torch.cosine_similarity(a, b, dim=0) >= -0.5),
        (
            Threshold(radius=2.0, cosine=0.3),
            lambda a, b: (a - b).norm() <= 2.0 and torch.cosine_similarity(a, b, dim=0) >= 0.3,
        ),
        (Threshold(), lambda a, b: True),
    ],
)
def test_edges_are_the_pairs_that_meet_the_bounds(graph, holds):
    x = _points(3, 9, 3)
    made = graph(x)
    counts = [len(_expected(x[i], holds)) for i in range(3)]
    assert made.edge_index.shape == (3, 2, max(counts))
    for i, count in enumerate(counts):
        assert _real(made[i]) == _expected(x[i], holds)
        assert made.edge_mask[i].sum() == count


def test_the_cap_keeps_the_nearest_of_those_in_reach():
    x = _points(12, 3)
    wide, capped = Threshold(radius=2.0)(x), Threshold(radius=2.0, max_neighbors=2)(x)
    for node in range(12):
        near = sorted((float((x[i] - x[node]).norm()), i) for i, j in _real(wide) if j == node)
        assert {i for i, j in _real(capped) if j == node} == {i for _, i in near[:2]}


def test_the_cap_alone_is_a_graph_of_nearest_neighbours():
    x = _points(2, 8, 3)
    neighbours = KNN(k=3)(x)
    for graph, wanted in zip(Threshold(max_neighbors=3)(x), neighbours, strict=True):
        assert _real(graph) == {tuple(edge) for edge in wanted.edge_index.T.tolist()}
    directions = KNN(k=3, metric="cosine")(x[0]).edge_index.T.tolist()
    assert _real(Threshold(cosine=-1.0, max_neighbors=3)(x[0])) == {tuple(edge) for edge in directions}


def test_padded_nodes_have_no_edge():
    x, mask = _points(6, 3), torch.tensor([True, False, True, True, False, True])
    alone = Complete()(x[mask])
    x[~mask] = torch.nan
    graph = Threshold(radius=100.0)(x, mask)
    kept = mask.nonzero()[:, 0]
    assert _real(graph) == {tuple(edge) for edge in kept[alone.edge_index].T.tolist()}
    assert graph.x.isfinite().all()


def test_zero_vectors_and_duplicates():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert _real(Threshold(cosine=1.0)(x)) == {(2, 3), (3, 2)}
    assert len(_real(Threshold(cosine=0.0)(x))) == 12
    assert _real(Threshold(radius=1e-9)(x)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (2, 4, 3)])
def test_nobody_may_be_in_reach(shape):
    graph = Threshold(radius=1e-9)(_points(*shape))
    assert graph.edge_index.shape == (*shape[:-2], 2, 0)
    assert graph.edge_mask.shape == (*shape[:-2], 0)


@pytest.mark.parametrize(
    "graph", [Threshold(radius=2.0), Threshold(radius=1e-9), Threshold(cosine=0.2, max_neighbors=2)]
)
def test_a_second_order_loss_trains_on_it(graph):
    views = {name: _points(5, 4, seed=i) for i, name in enumerate("abc")}
    views["a"].requires_grad_()
    loss = AlignmentLoss(differentiable(FAQ(), StraightThrough()), graph=graph)
    loss(views, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert views["a"].grad.isfinite().all()
    assert views["a"].grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"radius": 0}, {"radius": "1"}, {"cosine": 1.5}, {"max_neighbors": 0}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Threshold(**options)
