import pytest
import torch

from graphalign import KNN, MessagePassing
from graphalign.graphs.message_passing import CONVOLUTIONS


def _points(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("conv", CONVOLUTIONS)
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
    with pytest.raises(ValueError, match=r"Unknown convolution 'transformer'.*graphconv"):
        MessagePassing(4, conv="transformer")
