"""On a GPU every solver, estimator and loss gives what it gives on the CPU, and leaves its results on the GPU."""

from dataclasses import fields, replace

import pytest
import torch
from draws import normal

import graphalign
from graphalign import FAQ, AlignmentLoss, Factors, NodeEdge, Problem, Sinkhorn, Sparse
from graphalign.testing.problems import linear, masks, quadratic

pytestmark = pytest.mark.gpu
SOLVERS = ["auction", "brute_force", "faq", "greedy", "hungarian", "ipfp", "lap", "rrwm", "sinkhorn", "sm"]
LOSSES = ["alignment", "infonce", "siglip", "plot", "vlap"]


def there(problem: Problem) -> Problem:
    """The same problem on the GPU."""
    given = {f.name: getattr(problem, f.name) for f in fields(problem)}
    moved = {name: x.cuda() for name, x in given.items() if isinstance(x, torch.Tensor)}
    return replace(problem, scores=problem.scores.map(torch.Tensor.cuda), **moved)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name, padded):
    solver = graphalign.build("solver", name)
    options = masks() if padded else {}
    problem = quadratic(3, n=4, m=5, **options) if solver.order == 2 else linear(3, 4, 5, **options)
    here, found = solver(problem), solver(there(problem))
    assert found.matching.device.type == "cuda"
    torch.testing.assert_close(found.matching.cpu(), here.matching, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["lap", "hungarian", "auction", "greedy"])
def test_large_batches_are_the_same(name):
    problem = linear(8, 60, 64, seed=3)
    solver = graphalign.build("solver", name)
    assert torch.equal(solver(there(problem)).matching.cpu(), solver(problem).matching)


@pytest.mark.parametrize("estimator", ["imle", "aimle", "blackbox", "straight_through", "identity", "perturbed"])
@pytest.mark.parametrize("graph", ["complete", "knn(k=3)"])
def test_estimators_give_the_gradient_of_the_cpu(estimator, graph):
    def gradient(device):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64).to(device).requires_grad_()
        match = graphalign.differentiable(graphalign.build("solver", "lap"), graphalign.build("estimator", estimator))
        loss = AlignmentLoss(graph=graphalign.build("graph", graph), match=match)
        out = loss({"a": x[0], "b": x[1]}, generator=torch.Generator().manual_seed(1))
        out.loss.backward()
        return out.loss.detach().cpu(), x.grad.cpu()

    torch.testing.assert_close(gradient("cuda"), gradient("cpu"), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_with_tokens_and_groups(name):
    def gradient(device):
        x = normal(2, 6, 4, 8)
        x = x.to(device).requires_grad_()
        real = torch.ones(6, 4, dtype=torch.bool, device=device)
        real[0, 2:] = False
        loss = graphalign.build("loss", name).to(device)
        if hasattr(loss, "set_prototypes"):
            loss.set_prototypes(torch.randn(9, 8, generator=torch.Generator().manual_seed(2), dtype=x.dtype).to(device))
        groups = torch.tensor([0, 1, 1, 2, 3, 4])
        out = loss({"a": x[0], "b": x[1]}, masks={"a": real}, groups=groups, generator=torch.Generator().manual_seed(1))
        out.loss.backward()
        return out.loss.detach().cpu(), x.grad.cpu()

    torch.testing.assert_close(gradient("cuda"), gradient("cpu"), rtol=1e-5, atol=1e-7)


def test_sinkhorn_warm_start_and_gradient():
    def solved(device):
        scores = linear(2, 5, 7, seed=1).scores.node.to(device).requires_grad_()
        match = graphalign.differentiable(graphalign.Sinkhorn(tau=0.5), graphalign.build("estimator", "implicit"))
        solution = match(Problem(NodeEdge(scores), unmatched=0.1))
        again = match(Problem(NodeEdge(scores), unmatched=0.1, init=solution.state))
        again.matching.square().sum().backward()
        return again.matching.detach().cpu(), scores.grad.cpu()

    torch.testing.assert_close(solved("cuda"), solved("cpu"), rtol=1e-6, atol=1e-8)


def test_a_sparse_matching_on_a_gpu_is_that_of_the_processor():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, 8, generator=generator) for size in (3000, 5000))
    here, there = (Sparse(gap=1e-6)(Problem(Factors(x.to(on), y.to(on)))) for on in ("cpu", "cuda"))
    assert there.matching.device.type == "cuda"
    assert float(there.gap) <= 1e-6
    assert float(there.objective) == pytest.approx(float(here.objective), rel=1e-6)


def test_candidates_and_blocked_plans_take_features_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=generator)
    y, edges = x.flip(0) + 0.3, torch.randint(400, (2, 1500), generator=generator)
    weights = torch.ones(1500, 1)
    found = []
    for on in ("cpu", "cuda"):
        first, second, ends, ones = (z.to(on) for z in (x, y, edges, weights))
        bad = torch.eye(400, dtype=torch.bool, device=on)
        graphs = Problem(
            Factors(first, second, factors=(ones, ones)), ends, 399 - ends, forbidden=bad, seeds=[(1, 398)]
        )
        matching = FAQ(candidates=8)(graphs)
        plan = Sinkhorn(tau=0.2)(Problem(Factors(first, second), forbidden=bad, seeds=[(1, 398)])).value
        assert matching.matching.device.type == plan.f.device.type == on
        found.append((float(matching.objective), plan.node.cpu()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-5)
