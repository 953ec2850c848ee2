import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv

from graphalign import KNN, Complete, Cosine, ModalityGraph, Threshold


def _data(nodes, edges, width=3, seed=0, attributes=None):
    generator = torch.Generator().manual_seed(seed)
    edge_attr = None if attributes is None else torch.randn(edges, attributes, generator=generator)
    edge_index = torch.randint(0, nodes, (2, edges), generator=generator)
    return Data(x=torch.randn(nodes, width, generator=generator), edge_index=edge_index, edge_attr=edge_attr)


def _same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first.keys())  # noqa: SIM118, a Data is not a mapping


@pytest.mark.parametrize("attributes", [None, 2])
@pytest.mark.parametrize("sizes", [[(4, 6)], [(4, 6), (4, 6)], [(5, 3), (2, 7), (1, 0)], [(3, 0), (4, 0)]])
def test_from_data_to_data_is_exact(sizes, attributes):
    given = [_data(n, e, seed=i, attributes=attributes) for i, (n, e) in enumerate(sizes)]
    for source in (given, Batch.from_data_list(given)):
        for before, after in zip(given, ModalityGraph.from_data(source).to_data(), strict=True):
            _same(before, after)
    _same(given[0], ModalityGraph.from_data(given[0]).to_data())


def test_graphs_of_one_size_need_no_masks():
    graph = ModalityGraph.from_data([_data(4, 6, seed=i) for i in range(3)])
    assert graph.mask is graph.edge_mask is graph.edge_features is None
    assert graph.x.shape == (3, 4, 3)


@pytest.mark.parametrize("make", [KNN(k=2), Complete(), Threshold(radius=2.0)])
def test_to_data_from_data_keeps_what_is_real(make):
    x = torch.randn(2, 2, 6, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, False, True, True, False, True])
    masked, alone = make(x, mask).to_data(), make(x[:, :, mask]).to_data()
    assert len(masked) == len(alone) == 4
    for first, second in zip(masked, alone, strict=True):
        assert torch.equal(first.x, second.x)
        assert set(map(tuple, first.edge_index.T.tolist())) == set(map(tuple, second.edge_index.T.tolist()))


def test_edges_to_padded_nodes_are_left_out_without_an_edge_mask():
    graph = ModalityGraph(torch.ones(3, 1), torch.tensor([[0, 1], [1, 2]]), mask=torch.tensor([False, True, True]))
    assert graph.to_data().edge_index.tolist() == [[0], [1]]


def test_a_convolution_of_data_is_ours_on_the_graph():
    from graphalign import MessagePassing

    torch.manual_seed(0)
    encoder, given = (
        MessagePassing(3, layers=1, residual=False),
        [_data(5, 8), _data(3, 4, seed=1), _data(4, 0, seed=2)],
    )
    conv = GraphConv(3, 3, aggr="max")
    conv.load_state_dict(encoder.layers[0].state_dict())
    graph = ModalityGraph.from_data(given)
    ours = graph.with_nodes(encoder(graph.x, graph.edge_index, graph.edge_mask)).to_data()
    for data, encoded in zip(given, ours, strict=True):
        assert torch.allclose(conv(data.x, data.edge_index).relu(), encoded.x, atol=1e-6)


def test_the_users_edge_attributes_take_the_place_of_the_differences():
    data = _data(5, 8, attributes=2)
    graph = ModalityGraph.from_data(data)
    assert torch.equal(graph.edge_attr, data.edge_attr)
    assert torch.equal(graph.with_nodes(torch.zeros(5, 3)).edge_attr, data.edge_attr)
    scores = Cosine(edge_weight=1.0)(graph, graph, order=2).edge
    wanted = torch.cosine_similarity(data.edge_attr[:, None], data.edge_attr[None], dim=-1)
    assert torch.allclose(scores, wanted, atol=1e-6)


def test_selecting_graphs_selects_all_their_parts():
    graph = ModalityGraph.from_data([_data(n, n, seed=n, attributes=2) for n in (2, 3, 4)])
    turned = graph[[2, 0]]
    assert turned.mask.sum(-1).tolist() == turned.edge_mask.sum(-1).tolist() == [4, 2]
    assert torch.equal(turned.edge_features[1], graph.edge_features[0])
    assert graph[1].x.shape == (4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "graphs need `x`"),
        ([Data(edge_index=torch.zeros(2, 0, dtype=torch.long))], "graphs need `x`: 1 of 1"),
        ([Data(x=torch.zeros(2, 1))], "graphs need `edge_index`"),
        ([_data(2, 2, width=3), _data(2, 2, width=4)], r"one width in the last; got \(2, 3\), \(2, 4\)"),
        ([_data(2, 2, attributes=1), _data(2, 2)], "1 of 2 graphs have an edge_attr"),
        ([Data(x=torch.zeros(2), edge_index=torch.zeros(2, 0, dtype=torch.long))], "`x` needs two dimensions"),
    ],
)
def test_data_that_do_not_fit_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        ModalityGraph.from_data(given)
