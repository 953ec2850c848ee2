import pytest
import torch

from graphalign import NodeEdge, Problem, marginal_error, objective


def test_a_vector_has_the_arithmetic_of_a_vector_space():
    x = NodeEdge(torch.tensor([[1.0, -5.0]]), torch.tensor([[2.0]]))
    y = x + x * 2 - x
    assert y.node.tolist() == [[2.0, -10.0]]
    assert y.edge.tolist() == [[4.0]]
    assert x.dot(x) == 1 + 25 + 4
    assert x.amax() == 5
    assert NodeEdge(torch.zeros(1, 1), torch.tensor([[-7.0]])).amax() == 7


def test_a_tensor_scales_each_problem_of_a_batch():
    x = NodeEdge(torch.ones(2, 3, 3), torch.ones(2, 4, 4)) * torch.tensor([2.0, 5.0])
    assert x.node[0].unique() == 2
    assert x.edge[1].unique() == 5


def test_edge_matching_is_the_product_of_both_ends():
    matching = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    edges1, edges2 = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0], [1]])
    problem = Problem(NodeEdge(matching, torch.zeros(2, 1)), edges1=edges1, edges2=edges2)
    expected = torch.tensor([[0.1 * 0.4], [0.3 * 0.6]])
    assert torch.allclose(problem.edge_matching(matching), expected)
    batch = problem.edge_matching(matching.expand(5, 2, 3, 2))
    assert torch.allclose(batch, expected.expand(5, 2, 2, 1))


def test_edges_of_padded_nodes_lose_their_scores():
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    mask = torch.tensor([True, True, False])
    problem = Problem(NodeEdge(torch.ones(3, 3), torch.ones(3, 3)), edges, edges, mask1=mask)
    assert problem.masked().scores.edge.sum(1).tolist() == [3, 0, 0]
    assert problem.masked().scores.node.sum(1).tolist() == [3, 3, 0]


def test_the_objective_counts_lonely_nodes_on_both_sides():
    problem = Problem(NodeEdge(torch.full((2, 3), 5.0)), unmatched=0.5)
    matching = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert objective(problem, NodeEdge(matching)) == 5 + 0.5 * (1 + 2)
    masked = Problem(problem.scores, mask2=torch.tensor([True, True, False]), unmatched=0.5)
    assert objective(masked, NodeEdge(matching)) == 5 + 0.5 * (1 + 1)


def test_marginal_error_sees_excess_shortage_and_padding():
    problem = Problem(NodeEdge(torch.zeros(2, 2)))
    assert marginal_error(torch.tensor([[1.0, 0.5], [0.0, 0.5]]), problem) == 0.5
    assert marginal_error(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), problem) == 0.5
    assert marginal_error(torch.tensor([[1.0, 0.0], [0.0, 0.0]])) == 0
    padded = Problem(NodeEdge(torch.zeros(2, 2)), mask1=torch.tensor([True, False]))
    assert marginal_error(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), padded) == 1


RING = torch.tensor([[0, 1, 2], [1, 2, 0]])


def _with(**changes):
    """Four problems of rings of three nodes, with some of the parts changed."""
    scores = NodeEdge(torch.zeros(4, 3, 3), torch.zeros(4, 3, 3))
    return Problem(**{"scores": scores, "edges1": RING, "edges2": RING} | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Problem(NodeEdge(torch.zeros(3))), r"shape \(\*batch, n, m\)"),
        (lambda: Problem(NodeEdge(torch.zeros(0, 3))), "n, m >= 1"),
        (lambda: Problem(NodeEdge(torch.zeros(2, 2)), mask1=torch.ones(3).bool()), "mask1"),
        (lambda: Problem(NodeEdge(torch.zeros(2, 2)), unmatched=float("nan")), "unmatched"),
        (lambda: Problem(NodeEdge(torch.zeros(2, 2), torch.zeros(4, 4))), "need `edges1`"),
        (
            lambda: Problem(NodeEdge(torch.zeros(2, 2), torch.zeros(1, 1)), torch.zeros(2, 3), torch.zeros(2, 1)),
            "edges1",
        ),
        (lambda: _with(mask1=torch.ones(2, 3).bool()), r"`mask1` has the batch dimensions \(2,\), .* to \(4,\)"),
        (lambda: _with(mask2=torch.ones(1, 4, 3).bool()), "`mask2` has the batch dimensions"),
        (lambda: _with(edges1=RING.expand(3, 2, 3)), "`edges1` has the batch dimensions"),
        (lambda: _with(edges2=RING + 1), "`edges2` must hold node indices from 0 to 2; got indices from 1 to 3"),
        (lambda: _with(edges1=RING - 1), "got indices from -1 to 1"),
        (lambda: _with(scores=NodeEdge(torch.zeros(3, 3), torch.zeros(4, 3, 3))), "edge scores need the shape"),
        (lambda: _with(scores=NodeEdge(torch.zeros(4, 3, 3), torch.zeros(3, 3))), r"batch dimensions \(4,\)"),
        (lambda: Problem(NodeEdge(torch.zeros(3, 3)), RING, RING + 1), "from 0 to 2"),
    ],
)
def test_misfits_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_dtypes_are_told():
    with pytest.raises(TypeError, match=r"NodeEdge, not Tensor, e\.g\. Problem\(NodeEdge"):
        Problem(torch.zeros(2, 2))
    with pytest.raises(TypeError, match="floating"):
        Problem(NodeEdge(torch.zeros(2, 2, dtype=torch.long)))
    with pytest.raises(TypeError, match="boolean"):
        Problem(NodeEdge(torch.zeros(2, 2)), mask2=torch.ones(2))
    with pytest.raises(TypeError, match="`edges1` must hold node indices as torch"):
        _with(edges1=RING.short())
    with pytest.raises(TypeError, match="floating"):
        _with(scores=NodeEdge(torch.zeros(4, 3, 3), torch.zeros(4, 3, 3, dtype=torch.long)))


def test_masks_and_edges_are_broadcast():
    masks = {"mask1": torch.ones(3).bool(), "mask2": torch.ones(1, 3).bool()}
    problem = _with(edges1=RING.expand(4, 2, 3), edges2=RING[None], **masks)
    assert problem.masked().edge_matching(torch.eye(3).expand(4, 3, 3)).sum() == 4 * 3
    no_edges = torch.zeros(2, 0, dtype=torch.long)
    assert _with(scores=NodeEdge(torch.zeros(3, 3), torch.zeros(0, 3)), edges1=no_edges).scores.edge.shape == (0, 3)


def _padded_edges(**options):
    """One graph pair of three nodes; the third edge of the first and the first of the second are padding."""
    masks = {"edge_mask1": torch.tensor([True, True, False]), "edge_mask2": torch.tensor([False, True, True])}
    padded1, padded2 = torch.tensor([[0, 1, 0], [1, 2, 0]]), torch.tensor([[0, 1, 2], [0, 2, 0]])
    return Problem(NodeEdge(torch.ones(3, 3), torch.ones(3, 3)), padded1, padded2, **masks, **options)


def test_padded_edges_score_nothing_and_match_nothing():
    problem = _padded_edges()
    real = torch.tensor([[0, 1, 1], [0, 1, 1], [0, 0, 0]])
    assert torch.equal(problem.allowed_edges().long(), real)
    assert torch.equal(problem.masked().scores.edge, real.float())
    assert torch.equal(problem.edge_matching(torch.ones(2, 3, 3)), real.float().expand(2, 3, 3))
    assert torch.equal(problem.masked().scores.node, problem.scores.node)
    with_nodes = _padded_edges(mask1=torch.tensor([True, True, False]))
    assert with_nodes.allowed_edges().sum(1).tolist() == [2, 0, 0]


def test_padded_edges_get_no_gradient_even_where_their_scores_are_not_numbers():
    problem = _padded_edges()
    edge = torch.full((3, 3), torch.nan).where(~problem.allowed_edges(), 1.0).requires_grad_()
    masked = problem.with_scores(NodeEdge(problem.scores.node, edge)).masked()
    masked.scores.edge.square().sum().backward()
    assert torch.equal(edge.grad, 2.0 * problem.allowed_edges())


def test_the_objective_does_not_read_padding():
    problem = _padded_edges(mask2=torch.tensor([True, True, False]))
    garbage = NodeEdge(
        torch.ones(3, 3).masked_fill(~problem.allowed(), torch.nan),
        torch.ones(3, 3).masked_fill(~problem.allowed_edges(), torch.nan),
    )
    matching = torch.eye(3) * problem.allowed()
    value = NodeEdge(matching, problem.edge_matching(matching))
    assert objective(problem.with_scores(garbage), value) == objective(problem, value) == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"edge_mask1": torch.ones(3).bool(), "edges1": None, "scores": NodeEdge(torch.zeros(4, 3, 3))}, ValueError,
         "`edge_mask1` says which edges are real, and there are no edges; give edges1 too"),
        ({"edge_mask1": torch.ones(3)}, TypeError, "`edge_mask1` must be boolean"),
        ({"edge_mask2": torch.ones(2).bool()}, ValueError, r"`edge_mask2` needs the shape \(\*batch, 3\)"),
        ({"edge_mask2": torch.ones(2, 3).bool()}, ValueError, "`edge_mask2` has the batch dimensions"),
    ],
)  # fmt: skip
def test_edge_masks_that_do_not_fit_are_told(options, error, message):
    with pytest.raises(error, match=message):
        _with(**options)
    with pytest.raises(ValueError, match="no edges; give edges1"):
        Problem(NodeEdge(torch.zeros(2, 2))).allowed_edges()
