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
    ],
)
def test_misfits_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_dtypes_are_told():
    with pytest.raises(TypeError, match="floating"):
        Problem(NodeEdge(torch.zeros(2, 2, dtype=torch.long)))
    with pytest.raises(TypeError, match="boolean"):
        Problem(NodeEdge(torch.zeros(2, 2)), mask2=torch.ones(2))
