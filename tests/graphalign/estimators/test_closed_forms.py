"""Estimators against expectations in closed form or by enumeration, through a solver that is a plain function."""

import itertools
import math

import pytest
import torch
from draws import normal

from graphalign import (
    AIMLE,
    IMLE,
    Blackbox,
    BruteForce,
    Greedy,
    NodeEdge,
    Normal,
    Perturbed,
    Problem,
    Solution,
    build,
    components,
    differentiable,
    refusal,
)

DOUBLE = torch.float64
BOTH_WAYS = torch.tensor([[0, 1], [1, 0]])
RING = torch.tensor([[0, 1, 2], [1, 2, 0]])


def _vectors(edges):
    """Every matching of two equal graphs as a vector of node entries, then of pairs of edges."""
    edges, n = edges.mT.tolist(), int(edges.max()) + 1
    rows = []
    for p in itertools.permutations(range(n)):
        nodes = [float(p[i] == a) for i in range(n) for a in range(n)]
        rows.append(nodes + [float(p[i] == a and p[j] == b) for i, j in edges for a, b in edges])
    return torch.tensor(rows, dtype=DOUBLE)


def _flat(vector):
    return torch.cat([x.flatten(-2) for x in vector.tensors()], -1)


def _best_of(vectors):
    def solve(problem):
        best = vectors[(_flat(problem.scores) @ vectors.mT).argmax(-1)]
        n, e = problem.scores.node.shape[-1], problem.scores.edge.shape[-1]
        node, edge = best.split([n * n, e * e], -1)
        return Solution(NodeEdge(node.unflatten(-1, (n, n)), edge.unflatten(-1, (e, e))))

    return solve


def _gradient(match, problem, weights):
    scores = problem.scores.map(lambda x: x.clone().requires_grad_())
    value = match(problem.with_scores(scores), generator=torch.Generator().manual_seed(0)).value
    return value.detach(), NodeEdge(*torch.autograd.grad(value.tensors(), scores.tensors(), weights.tensors()))


class TwoNodes:
    """Two nodes and both edges between them: two matchings y1, y2, so that all is a matter of d = <theta, y1 - y2>.

    With noise N(0, sigma^2) on all eight scores d has the deviation s = sigma |y1 - y2| = sigma sqrt(8), and
    E y = y2 + (y1 - y2) Phi(d / s).
    """

    sigma = 0.4
    vectors = _vectors(BOTH_WAYS)
    between = vectors[0] - vectors[1]
    problem = Problem(NodeEdge(0.4 * normal(2, 2, seed=4), 0.4 * normal(2, 2, seed=1)), BOTH_WAYS, BOTH_WAYS)
    weights = NodeEdge(2 * normal(2, 2, seed=2), 2 * normal(2, 2, seed=3))
    noise = Normal(scale=sigma)

    @classmethod
    def share(cls, moved=0.0):
        """The chance of the first matching when d is lower by `moved`."""
        d = _flat(cls.problem.scores) @ cls.between - moved
        return torch.special.ndtr(d / (cls.sigma * math.sqrt(8)))


@pytest.mark.parametrize("lam", [0.3, 2.0])
def test_imle_on_two_graphs_is_a_quotient_of_normal_distribution_functions(lam):
    """(y1 - y2) (Phi(d / s) - Phi((d - lam <g, y1 - y2>) / s)) / lam, at node and edge scores alike."""
    match = differentiable(_best_of(TwoNodes.vectors), IMLE(lam, TwoNodes.noise, samples=200_000, normalize=False))
    value, grad = _gradient(match, TwoNodes.problem, TwoNodes.weights)
    slope = _flat(TwoNodes.weights) @ TwoNodes.between
    expected = TwoNodes.between * (TwoNodes.share() - TwoNodes.share(lam * slope)) / lam
    assert expected.abs().max() > 0.1
    assert torch.allclose(_flat(grad), expected, atol=0.01)
    mean = TwoNodes.vectors[1] + TwoNodes.between * TwoNodes.share()
    assert torch.allclose(_flat(value), mean, atol=0.005)


def test_perturbed_on_two_graphs_is_a_normal_density():
    """<g, y1 - y2> phi(d / s) / s (y1 - y2)."""
    match = differentiable(_best_of(TwoNodes.vectors), Perturbed(TwoNodes.noise, samples=400_000))
    _, grad = _gradient(match, TwoNodes.problem, TwoNodes.weights)
    s = TwoNodes.sigma * math.sqrt(8)
    d = _flat(TwoNodes.problem.scores) @ TwoNodes.between
    density = torch.exp(-((d / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi))
    expected = (_flat(TwoNodes.weights) @ TwoNodes.between) * density * TwoNodes.between
    assert expected.abs().max() > 0.1
    assert torch.allclose(_flat(grad), expected, atol=0.02)


class EverySign:
    """Noise of +-size on some entries, with every pattern of signs once: the mean over samples is the expectation."""

    def __init__(self, node, edge, size):
        self.node, self.edge, self.size = node, edge, size
        self.samples = 2 ** (len(node) + len(edge))

    def patterns(self):
        signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(self.node) + len(self.edge))), dtype=DOUBLE)
        drawn = torch.zeros(self.samples, 18, dtype=DOUBLE)
        drawn[:, [*self.node, *(9 + i for i in self.edge)]] = self.size * signs
        return drawn

    def sample(self, like, samples, generator):
        return NodeEdge(*(x.unflatten(1, (3, 3)) for x in self.patterns().split(9, 1)))


@pytest.mark.parametrize("lam", [0.5, 3.0])
def test_imle_on_two_graphs_against_the_enumerated_expectation(lam):
    problem = Problem(NodeEdge(0.5 * normal(3, 3), 0.5 * normal(3, 3, seed=1)), RING, RING)
    weights, vectors = NodeEdge(normal(3, 3, seed=2), normal(3, 3, seed=3)), _vectors(RING)
    noise = EverySign(node=[0, 4, 7], edge=[1, 3, 8, 2], size=0.7)
    estimator = IMLE(lam, noise, samples=noise.samples, normalize=False)
    value, grad = _gradient(differentiable(BruteForce(), estimator), problem, weights)

    def expectation(theta):
        return torch.stack([vectors[(vectors @ (theta + z)).argmax()] for z in noise.patterns()]).mean(0)

    theta, g = _flat(problem.scores), _flat(weights)
    assert torch.allclose(_flat(value), expectation(theta))
    expected = (expectation(theta) - expectation(theta - lam * g)) / lam
    assert torch.allclose(_flat(grad), expected)
    assert (expected[:9] != 0).any()
    assert (expected[9:] != 0).any()


class Drawn:
    """A given sequence of draws."""

    def __init__(self, drawn):
        self.drawn = drawn

    def sample(self, like, samples, generator):
        return NodeEdge(self.drawn)


@pytest.mark.parametrize("normalize", [True, False])
def test_samples_together_are_the_mean_of_single_ones(normalize):
    """Averaging over S leaves the step as it is: one call with S draws is the mean of S calls with one."""
    problem, weights = Problem(NodeEdge(normal(4, 5, 5))), NodeEdge(normal(4, 5, 5, seed=1))
    drawn = 0.3 * normal(6, 4, 5, 5, seed=2)

    def gradient(noise, samples):
        match = differentiable(build("solver", "lap"), IMLE(1.5, Drawn(noise), samples, normalize))
        return _gradient(match, problem, weights)

    value, together = gradient(drawn, 6)
    values, single = zip(*(gradient(z[None], 1) for z in drawn), strict=True)
    assert torch.allclose(value.node, torch.stack([v.node for v in values]).mean(0))
    assert torch.allclose(together.node, torch.stack([g.node for g in single]).mean(0))
    assert not torch.allclose(single[0].node, single[1].node)


@pytest.mark.parametrize("samples", [1, 4, 16])
def test_the_expectation_does_not_depend_on_the_number_of_samples(samples):
    """Mean over 4,000 problems that are all the same, against the closed form, within four standard errors."""
    copies, lam = 4000, 1.0
    problem = TwoNodes.problem.with_scores(TwoNodes.problem.scores.map(lambda x: x.expand(copies, 2, 2)))
    weights = TwoNodes.weights.map(lambda x: x.expand(copies, 2, 2))
    estimator = IMLE(lam, TwoNodes.noise, samples, normalize=False)
    _, grad = _gradient(differentiable(_best_of(TwoNodes.vectors), estimator), problem, weights)
    first = grad.node[:, 0, 0]
    slope = _flat(TwoNodes.weights) @ TwoNodes.between
    expected = (TwoNodes.share() - TwoNodes.share(lam * slope)) / lam
    error = first.std() / math.sqrt(copies)
    assert (first.mean() - expected).abs() < 4 * error
    assert 4 * error < 0.3 * expected.abs()


def test_perturbed_has_the_slope_of_the_mean_matching_at_every_score():
    """Central differences of E <w, y> over the same draws, at node and edge scores."""
    vectors = _vectors(RING)
    problem = Problem(NodeEdge(0.5 * normal(3, 3), 0.5 * normal(3, 3, seed=1)), RING, RING)
    weights = NodeEdge(normal(3, 3, seed=2), normal(3, 3, seed=3))
    match = differentiable(_best_of(vectors), Perturbed(Normal(scale=0.7), samples=100_000))
    _, grad = _gradient(match, problem, weights)

    def mean(entry, step):
        moved = _flat(problem.scores).index_add(0, torch.tensor([entry]), torch.tensor([step], dtype=DOUBLE))
        scores = NodeEdge(*(x.reshape(3, 3) for x in moved.split(9)))
        return match(problem.with_scores(scores), generator=torch.Generator().manual_seed(1)).value.dot(weights)

    slopes = torch.stack([(mean(i, 0.15) - mean(i, -0.15)) / 0.3 for i in range(18)])
    assert (_flat(grad) - slopes).norm() < 0.1 * slopes.norm()


@pytest.mark.parametrize(("lam", "expected"), [(0.5, 0.0), (0.99, 0.0), (1.01, 1 / 1.01), (4.0, 0.25)])
def test_blackbox_on_one_row_switches_where_the_step_passes_the_gap(lam, expected):
    """The winner leads by 1 and g = 1 at it: nothing for lam < 1, then +-1 / lam at winner and runner-up."""
    problem = Problem(NodeEdge(torch.tensor([[0.3, 1.5, 0.5]], dtype=DOUBLE)))
    match = differentiable(Greedy(), Blackbox(lam=lam, normalize=False))
    _, grad = _gradient(match, problem, NodeEdge(torch.tensor([[0.0, 1.0, 0.0]], dtype=DOUBLE)))
    assert torch.allclose(grad.node, torch.tensor([[0.0, expected, -expected]], dtype=DOUBLE))


def test_aimle_with_enough_steps_is_imle_at_the_step_it_found():
    """One problem at a time, as every problem finds its own."""
    vectors, problem = _vectors(RING), Problem(NodeEdge(normal(3, 3), normal(3, 3, seed=1)), RING, RING)
    weights = NodeEdge(normal(3, 3, seed=2), normal(3, 3, seed=3))
    solver, noise = _best_of(vectors), Normal(0.1)
    _, found = _gradient(differentiable(solver, AIMLE(lam=0.05, steps=10, noise=noise)), problem, weights)
    steps = [0.05 * 2**k for k in range(10)]
    at = [_gradient(differentiable(solver, IMLE(lam, noise)), problem, weights)[1] for lam in steps]
    alike = [torch.equal(found.node, g.node) and torch.equal(found.edge, g.edge) for g in at]
    assert any(alike[1:])
    assert not alike[0]


@pytest.mark.parametrize("name", sorted(components("estimator")))
def test_a_plain_function_works_with_every_estimator_that_can_use_it(name):
    def best_column(problem):
        node = problem.scores.node
        return Solution(NodeEdge(torch.nn.functional.one_hot(node.argmax(-1), node.shape[-1]).to(node)))

    estimator, problem = build("estimator", name), Problem(NodeEdge(normal(20, 4, 4)))
    weights = NodeEdge(normal(20, 4, 4, seed=1))
    if name == "implicit":
        assert "best_column has none" in refusal(best_column, estimator)
        return
    match = differentiable(best_column, estimator)
    if name == "unrolled":
        with pytest.raises(ValueError, match="autograd cannot follow"):
            _gradient(match, problem, weights)
    elif not getattr(estimator, "gives_gradient", True):
        assert not match(problem).matching.requires_grad
    else:
        _, grad = _gradient(match, problem, weights)
        assert grad.node.isfinite().all()
        assert grad.node.abs().sum() > 0
