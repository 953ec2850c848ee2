from functools import partial

import pytest
import torch
from draws import normal

from graphalign import FAQ, KNN, AlignmentLoss, MessagePassing, PerModality, StraightThrough, Threshold, differentiable
from graphalign.graphs.message_passing import CONVOLUTIONS

_points = partial(normal, dtype=torch.float32)


@pytest.mark.parametrize("conv", [*CONVOLUTIONS, "TransformerConv", "GATv2Conv", "TAGConv"])
def test_graphs_of_a_batch_do_not_exchange_messages(conv):
    torch.manual_seed(0)
    encoder, graph = MessagePassing(4, conv=conv), KNN(k=2)(_points(3, 6, 4))
    together = encoder(graph.x, graph.edge_index)
    alone = torch.stack([encoder(graph.x[i], graph.edge_index[i]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_renaming_nodes_renames_the_result(conv):
    torch.manual_seed(0)
    encoder, x, order = MessagePassing(4, conv=conv), _points(6, 4), torch.tensor([3, 0, 5, 1, 2, 4])
    plain, renamed = KNN(k=2)(x), KNN(k=2)(x[order])
    assert torch.allclose(encoder(plain.x, plain.edge_index)[order], encoder(renamed.x, renamed.edge_index), atol=1e-6)


def test_a_node_hears_its_neighbours_and_nobody_else():
    torch.manual_seed(0)
    encoder, x = MessagePassing(32, layers=1), _points(3, 32).requires_grad_()
    out = encoder(x, torch.tensor([[0], [1]]))
    (grad,) = torch.autograd.grad(out[1].sum(), x, retain_graph=True)
    assert grad[0].abs().sum() > 0
    assert grad[2].abs().sum() == 0
    (grad,) = torch.autograd.grad(out[0].sum(), x)
    assert grad[1].abs().sum() == 0


def test_the_residual_path_can_be_left_out():
    x, edges = _points(4, 4), torch.zeros(2, 0, dtype=torch.long)
    torch.manual_seed(0)
    assert (MessagePassing(4, residual=False)(x, edges) >= 0).all()
    assert not (MessagePassing(4)(x, edges) >= 0).all()


def test_dropout_only_in_training():
    torch.manual_seed(0)
    encoder, graph = MessagePassing(4, dropout=0.5), KNN(k=2)(_points(6, 4))
    torch.manual_seed(1)
    dropped = encoder(graph.x, graph.edge_index)
    encoder.eval()
    assert not torch.equal(dropped, encoder(graph.x, graph.edge_index))
    assert torch.equal(encoder(graph.x, graph.edge_index), encoder(graph.x, graph.edge_index))


def test_an_unknown_convolution_is_told():
    with pytest.raises(ValueError, match=r"unknown convolution 'transformer'.*graphconv"):
        MessagePassing(4, conv="transformer")


@pytest.mark.parametrize("conv", ["graphconv", "gcn", "TransformerConv"])
def test_padded_edges_carry_no_message(conv):
    torch.manual_seed(0)
    encoder, graph = MessagePassing(4, conv=conv), Threshold(radius=2.0)(_points(3, 6, 4))
    assert not graph.edge_mask.all()
    together = encoder(graph.x, graph.edge_index, graph.edge_mask)
    alone = [encoder(one.x, one.edge_index[:, one.edge_mask]) for one in graph]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        ("TransformrConv", r"Did you mean 'TransformerConv'\?"),
        ("RGCNConv", r"RGCNConv cannot serve here.*num_relations"),
        ("CGConv", r"CGConv cannot serve here.*it is made from \(channels, dim"),
        ("HypergraphConv", r"called with \(x, hyperedge_index"),
        ("MixHopConv", r"two nodes of width 4 came out as \(2, 12\)"),
        ("MessagePassing", "unknown convolution 'MessagePassing'"),
    ],
)
def test_a_convolution_that_cannot_serve_is_told(conv, message):
    with pytest.raises(ValueError, match=message):
        MessagePassing(4, conv=conv)


def _per_modality(*names):
    torch.manual_seed(0)
    return PerModality({name: MessagePassing(4) for name in names})


def test_each_modality_has_its_own_encoder():
    encoder, graph = _per_modality("a", "b", "barycenter"), Threshold(radius=2.0)(_points(4, 6, 4))
    out = encoder(graph.x, graph.edge_index, graph.edge_mask, names=["b", "barycenter", "a", "barycenter"])
    for place, name in enumerate(["b", "barycenter", "a", "barycenter"]):
        one = graph[place]
        alone = encoder.encoders[name](one.x, one.edge_index, one.edge_mask)
        assert torch.allclose(out[place], alone, atol=1e-6)
    out[0].sum().backward()
    assert any(p.grad is not None for p in encoder.encoders["b"].parameters())
    assert all(p.grad is None or not p.grad.any() for p in encoder.encoders["a"].parameters())


@pytest.mark.parametrize("names", [["a", "c"], ["a"]])
def test_a_modality_without_encoder_is_told(names):
    encoder, graph = _per_modality("a", "b"), KNN(k=2)(_points(2, 6, 4))
    with pytest.raises(ValueError, match=r"encoders for a, b, and got 2 graphs called a"):
        encoder(graph.x, graph.edge_index, names=names)


@pytest.mark.parametrize("graph", [KNN(k=2), Threshold(radius=2.0)])
@pytest.mark.parametrize("barycenter", ["mean", "leave_one_out", "pairwise"])
def test_the_alignment_loss_trains_every_modalitys_own_encoder(barycenter, graph):
    names = ["a", "b", "c"] if barycenter == "pairwise" else ["a", "b", "c", "barycenter"]
    encoder, views = _per_modality(*names), dict(zip("abc", _points(3, 6, 4), strict=True))
    match = differentiable(FAQ(), StraightThrough())
    AlignmentLoss(match, graph=graph, encoder=encoder, barycenter=barycenter)(views).loss.backward()
    assert all(any(p.grad.any() for p in one.parameters()) for one in encoder.encoders.values())


def test_one_encoder_under_all_names_is_a_shared_one():
    shared, views = MessagePassing(4), dict(zip("abc", _points(3, 6, 4), strict=True))
    same = PerModality(dict.fromkeys(["a", "b", "c", "barycenter"], shared))
    plain, named = (AlignmentLoss(encoder=encoder).evaluate(views) for encoder in (shared, same))
    assert plain.accuracy == named.accuracy
    assert plain.loss == named.loss
    with pytest.raises(ValueError, match="graphs called a, b, c, barycenter"):
        AlignmentLoss(encoder=PerModality(dict.fromkeys("abc", shared))).evaluate(views)


def test_a_convolution_that_mixes_the_graphs_of_a_batch_is_refused():
    with pytest.raises(ValueError, match="BatchNorm1d, whose statistics mix the graphs of a batch"):
        MessagePassing(8, conv="GENConv")
