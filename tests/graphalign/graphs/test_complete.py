import pytest
import torch

from graphalign import FAQ, KNN, AlignmentLoss, Complete, StraightThrough, differentiable


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_it_is_the_graph_of_all_neighbours(batch):
    x = torch.randn(*batch, 5, 4, generator=torch.Generator().manual_seed(0))
    graph, neighbours = Complete()(x), KNN(k=4)(x)
    assert graph.edge_index.shape == neighbours.edge_index.shape == (*batch, 2, 20)
    codes = [(g.edge_index[..., 0, :] * 5 + g.edge_index[..., 1, :]).sort(-1).values for g in (graph, neighbours)]
    assert torch.equal(*codes)
    assert torch.equal(graph.edge_attr[..., 0, :], x[..., 1, :] - x[..., 0, :])


def test_one_node_has_no_edge():
    assert Complete()(torch.zeros(1, 3)).edge_index.shape == (2, 0)


def test_a_second_order_loss_trains_on_it():
    views = {name: torch.randn(4, 6, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("ab")}
    views["a"].requires_grad_()
    loss = AlignmentLoss(differentiable(FAQ(), StraightThrough()), graph=Complete())
    loss(views, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert views["a"].grad.isfinite().all()
    assert views["a"].grad.abs().sum() > 0


def test_padded_nodes_have_no_edge():
    mask = torch.tensor([[True, True, False], [False, True, False]])
    graph = Complete()(torch.full((2, 3, 4), torch.nan), mask)
    assert not graph.x[~mask].any()
    assert graph.edge_index[0][:, graph.edge_mask[0]].T.tolist() == [[1, 0], [0, 1]]
    assert not graph.edge_mask[1].any()
