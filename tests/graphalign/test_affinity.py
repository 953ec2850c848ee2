from functools import partial

import pytest
import torch
from draws import normal

from graphalign import FAQ, KNN, Complete, Cosine, Gaussian, InnerProduct, ModalityGraph, Problem, Threshold, build

ALL = [Cosine(), InnerProduct(), InnerProduct(scaled=True), Gaussian(), Gaussian(sigma=0.1)]

_points = partial(normal, dtype=torch.float32)


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


@pytest.mark.parametrize(("relative", "score"), [(0.0099, 0.0), (0.0101, 1.0)])
def test_an_edge_has_a_direction_from_a_hundredth_of_the_usual_length_on(relative, score):
    """Usual is the root mean square of the graph's real edges, whatever their unit."""
    short = relative * (3 / (4 - relative**2)) ** 0.5  # beside three edges of length 1
    lengths = torch.tensor([1.0, 1.0, 1.0, short, 1e6], dtype=torch.float64)
    real, ends = torch.tensor([True] * 4 + [False]), torch.zeros(2, 5, dtype=torch.long)
    for unit in (1.0, 1e-3):
        edges = (unit * lengths)[:, None] * torch.tensor([0.6, 0.8], dtype=torch.float64)
        graph = ModalityGraph(normal(2, 3), ends, edge_mask=real, edge_features=edges)
        scores = Cosine(edge_weight=1.0)(graph, graph, order=2).edge
        assert scores[0, :4].tolist() == pytest.approx([1, 1, 1, score])


def test_inner_products_of_nodes_and_edges():
    first, second = KNN(k=2)(_points(5, 4)), KNN(k=2)(_points(6, 4, seed=1))
    plain = InnerProduct(edge_weight=0.3)(first, second, order=2)
    assert plain.node[1, 5].item() == pytest.approx((first.x[1] @ second.x[5]).item(), abs=1e-6)
    assert plain.edge[3, 8].item() == pytest.approx(0.3 * (first.edge_attr[3] @ second.edge_attr[8]).item(), abs=1e-6)
    scaled = InnerProduct(edge_weight=0.3, scaled=True)(first, second, order=2)
    assert torch.allclose(scaled.node * 2, plain.node, atol=1e-6)
    assert torch.allclose(scaled.edge * 2, plain.edge, atol=1e-6)
    assert InnerProduct()(first, second).edge is None


def test_gaussian_kernels_of_nodes_and_edges():
    first, second = KNN(k=2)(_points(5, 4)), KNN(k=2)(_points(6, 4, seed=1))
    scores = Gaussian(sigma=1.5, edge_weight=0.3)(first, second, order=2)
    node = (-(first.x[1] - second.x[5]).square().sum() / (2 * 1.5**2)).exp()
    edge = 0.3 * (-(first.edge_attr[3] - second.edge_attr[8]).square().sum() / (2 * 1.5**2)).exp()
    assert scores.node[1, 5].item() == pytest.approx(node.item(), abs=1e-6)
    assert scores.edge[3, 8].item() == pytest.approx(edge.item(), abs=1e-6)
    assert Gaussian()(first, second).edge is None
    far = KNN(k=2)(first.x + 1e4)
    assert torch.allclose(Gaussian()(far, far).node, Gaussian()(first, first).node, atol=2e-2)


@pytest.mark.parametrize("affinity", ALL, ids=repr)
def test_gradients_are_those_of_finite_differences(affinity):
    graph = Complete()(_points(3, 2).double())

    def scores(x):
        return affinity(graph.with_nodes(x), graph.with_nodes(_points(3, 2, seed=1).double()), order=2).tensors()

    assert torch.autograd.gradcheck(scores, graph.x.clone().requires_grad_())


@pytest.mark.parametrize("affinity", ALL, ids=repr)
@pytest.mark.parametrize("make", [KNN(k=2), Threshold(radius=1e-9), Threshold(cosine=1.0)])
def test_zero_vectors_and_duplicates_are_finite_and_not_large(affinity, make):
    x = torch.cat([torch.zeros(2, 3), torch.ones(2, 3), _points(1, 3)]).requires_grad_()
    graph = make(x)
    scores = affinity(graph, graph, order=2)
    assert all(part.isfinite().all() for part in scores.tensors())
    (scores.node.sum() + scores.edge.sum()).backward()
    assert x.grad.abs().max() < 1e3


@pytest.mark.parametrize("affinity", ALL, ids=repr)
def test_padding_is_as_if_absent(affinity):
    """Nodes that are not there and edges that are not there change no score, and no gradient, of the real ones."""
    x, mask = _points(6, 3).requires_grad_(), torch.tensor([1, 0, 1, 1, 1, 0]).bool()
    padded, alone = (
        Threshold(radius=2.0)(x.masked_fill(~mask[:, None], torch.nan), mask),
        Threshold(radius=2.0)(x[mask]),
    )
    widened = ModalityGraph(
        padded.x,
        torch.cat([padded.edge_index, torch.zeros(2, 3, dtype=torch.long)], 1),
        padded.mask,
        torch.cat([padded.edge_mask, torch.zeros(3, dtype=torch.bool)]),
    )
    scores, wanted = affinity(widened, widened, order=2), affinity(alone, alone, order=2)
    real = widened.edge_mask
    assert torch.allclose(scores.node[mask][:, mask], wanted.node, atol=1e-6)
    assert torch.allclose(scores.edge[real][:, real], wanted.edge, atol=1e-6)
    masks = {"mask1": mask, "mask2": mask, "edge_mask1": real, "edge_mask2": real}
    seen = Problem(scores, widened.edge_index, widened.edge_index, **masks).masked().scores
    ours = torch.autograd.grad(seen.node.square().sum() + seen.edge.square().sum(), x)[0]
    theirs = torch.autograd.grad(wanted.node.square().sum() + wanted.edge.square().sum(), x)[0]
    assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("affinity", ALL, ids=repr)
def test_a_permuted_copy_is_found_again(affinity):
    x, order = torch.nn.functional.normalize(_points(7, 3)), torch.tensor([3, 0, 5, 1, 2, 6, 4])
    first, second = KNN(k=2)(x), KNN(k=2)(x[order])
    scores = affinity(first, second, order=2)
    found = FAQ()(Problem(scores, first.edge_index, second.edge_index)).matching
    assert torch.equal(found.argmax(0), order)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("affinity", ALL, ids=repr)
def test_the_dtype_is_kept(affinity, dtype):
    graph = KNN(k=2)(_points(4, 3).to(dtype))
    assert {part.dtype for part in affinity(graph, graph, order=2).tensors()} == {dtype}


@pytest.mark.parametrize("spec", ["gaussian(sigma=0)", "gaussian(edge_weight=-1)", "inner_product(scaled=2)"])
def test_arguments_are_checked(spec):
    with pytest.raises(ValueError, match=spec.split("(")[1].split("=")[0]):
        build("affinity", spec)
