import pytest
import torch

from graphalign import (
    AlignmentLoss,
    BruteForce,
    Detached,
    Lap,
    NodeEdge,
    Problem,
    Sinkhorn,
    differentiable,
    refusal,
)
from graphalign.registry import components


@pytest.mark.parametrize("solver", [Lap(), Sinkhorn(tau=0.5)])
def test_the_matching_is_the_solvers_and_has_no_history(solver):
    scores = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    solution = differentiable(solver, Detached())(Problem(NodeEdge(scores)))
    assert torch.equal(solution.matching, solver(Problem(NodeEdge(scores.detach()))).matching)
    assert not solution.matching.requires_grad


def test_a_solver_that_brings_its_own_history_is_cut_off_too():
    scores = torch.eye(3).requires_grad_()
    fixed = torch.ones(1, requires_grad=True)

    def solver(problem):
        with torch.enable_grad():
            found = Lap()(problem)
            return type(found)(found.value * fixed)

    assert not differentiable(solver, Detached())(Problem(NodeEdge(scores))).matching.requires_grad


def test_edges_are_a_constant_too():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    scores = NodeEdge(torch.eye(3, requires_grad=True), torch.eye(3, requires_grad=True))
    value = differentiable(BruteForce(), Detached())(Problem(scores, ring, ring)).value
    assert torch.equal(value.edge, torch.eye(3))
    assert not value.edge.requires_grad


def test_a_loss_of_the_matching_alone_cannot_be_trained_by_mistake():
    views = {name: torch.randn(4, 8, requires_grad=True) for name in ("image", "text")}
    loss = AlignmentLoss(differentiable(Lap(), Detached()))
    assert loss.evaluate(views).loss.isfinite()
    with torch.no_grad():
        assert torch.equal(loss(views).loss, loss.evaluate(views).loss)
    with pytest.raises(ValueError, match=r"has no gradient.*another estimator.*loss\.evaluate"):
        loss(views)


def test_it_fits_every_solver_but_not_a_training():
    reason = refusal(Lap(), Detached(), training=True)
    assert reason.startswith("detached gives no gradient, so a loss that reads nothing but the matching trains nothing")
    assert {"imle", "perturbed"} <= set(reason.replace(".", "").replace(",", "").split())
    assert "detached" not in reason[10:]
    assert all(refusal(solver(), Detached()) is None for solver in components("solver").values())
