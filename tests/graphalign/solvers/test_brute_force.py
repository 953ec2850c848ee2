import itertools

import pytest
import torch

from graphalign import BruteForce, NodeEdge, Problem, objective


def _all_matchings(n, m, partial):
    """Every 0/1 matrix with sums of at most one, by filtering all matrices: slow and obviously right."""
    for bits in itertools.product((0.0, 1.0), repeat=n * m):
        x = torch.tensor(bits, dtype=torch.float64).reshape(n, m)
        if x.sum(0).max() <= 1 and x.sum(1).max() <= 1 and (partial or x.sum() == min(n, m)):
            yield x


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("unmatched", [None, 0.3])
def test_second_order_optimum_is_that_of_all_matrices(shape, unmatched):
    n, m = shape
    generator = torch.Generator().manual_seed(n)
    edges1, edges2 = torch.randint(0, n, (2, 5), generator=generator), torch.randint(0, m, (2, 4), generator=generator)
    scores = NodeEdge(*(torch.randn(s, generator=generator, dtype=torch.float64) for s in ((n, m), (5, 4))))
    problem = Problem(scores, edges1, edges2, unmatched=unmatched)
    best = max(
        float(objective(problem, NodeEdge(x, problem.edge_matching(x))))
        for x in _all_matchings(n, m, unmatched is not None)
    )
    solution = BruteForce()(problem)
    assert float(objective(problem, solution.value)) == pytest.approx(best, abs=1e-10)


def test_nine_nodes_are_too_many():
    with pytest.raises(ValueError, match="at most 8 nodes"):
        BruteForce()(Problem(NodeEdge(torch.eye(9))))


@pytest.mark.parametrize("unmatched", [None, 1e307])
@pytest.mark.parametrize("order", [1, 2])
def test_sums_of_the_largest_doubles_do_not_overflow(unmatched, order):
    node = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.1, 0.2], [0.7, 0.9, 0.8]], dtype=torch.float64)
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]]) if order == 2 else None
    scores = NodeEdge(node, None if edges is None else node.flip(0))
    small = Problem(scores, edges, edges, unmatched=None if unmatched is None else unmatched / 1.7e308)
    huge = Problem(scores * 1.7e308, edges, edges, unmatched=unmatched)
    assert torch.equal(BruteForce()(huge).matching, BruteForce()(small).matching)
