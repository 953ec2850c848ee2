"""The same rules in PyEPO, an independent implementation: equal gradients from equal noise, node and edge scores alike.

PyEPO minimises or maximises a linear cost over a solver of your own. It gets a list of all matchings as vectors, made
here from their definition, so that nothing of this library's solvers has a part in what it computes. `aimle` is left
out: PyEPO follows the paper, where a step is shared by the batch and by earlier steps; here each problem has its own.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from draws import normal

from graphalign import (
    IMLE,
    Blackbox,
    BruteForce,
    FenchelYoung,
    Identity,
    NodeEdge,
    Perturbed,
    Problem,
    SPOPlus,
    StraightThrough,
    differentiable,
)

pyepo = pytest.importorskip("pyepo", reason="needs the package pyepo, which the extra `test` brings")

from pyepo import EPO  # noqa: E402
from pyepo.func import (  # noqa: E402
    SPOPlus as TheirSPOPlus,
)
from pyepo.func import (  # noqa: E402
    blackboxOpt,
    implicitMLE,
    negativeIdentity,
    perturbedFenchelYoung,
    perturbedOpt,
)
from pyepo.model.opt import optModel  # noqa: E402

DOUBLE = torch.float64
BATCH, SAMPLES, SIGMA = 6, 5, 0.6
EDGES = ((0, 1), (1, 2), (2, 0))
CASES = ["one row", "assignment", "two graphs"]
SENSES = [EPO.MINIMIZE, EPO.MAXIMIZE]


class Listed(optModel):
    """The best of a list of vectors."""

    def __init__(self, vectors, sense):
        self.vectors, self.modelSense = vectors, sense
        super().__init__()

    def _getModel(self):
        return None, list(range(self.vectors.shape[1]))

    def setObj(self, c):
        self.cost = torch.as_tensor(c, dtype=DOUBLE)

    def solve(self):
        values = self.vectors @ self.cost
        best = values.argmin() if self.modelSense == EPO.MINIMIZE else values.argmax()
        return self.vectors[best].numpy(), float(values[best])


@dataclass(frozen=True, eq=False)
class Given:
    """Noise that was drawn before, `(samples, *b, entries)`; `score` is that of a normal distribution."""

    drawn: torch.Tensor
    scale: float = SIGMA

    def sample(self, like, samples, generator):
        return _parts(self.drawn, like)

    def score(self, noise):
        return noise * (1 / self.scale**2)


def _parts(flat, like):
    if like.edge is None:
        return NodeEdge(flat.reshape(*flat.shape[:-1], *like.node.shape[-2:]))
    return NodeEdge(*(x.unflatten(-1, (3, 3)) for x in flat.split(9, -1)))


def _flat(vector):
    return torch.cat([x.flatten(-2) for x in vector.tensors()], -1)


def _matching_vectors(case):
    """All matchings: one of five; permutations of three; those with the pairs of edges that they map to each other."""
    if case == "one row":
        return torch.eye(5, dtype=DOUBLE)
    rows = []
    for p in itertools.permutations(range(3)):
        row = [float(p[i] == a) for i in range(3) for a in range(3)]
        if case == "two graphs":
            row += [float(p[i] == a and p[j] == b) for i, j in EDGES for a, b in EDGES]
        rows.append(row)
    return torch.tensor(rows, dtype=DOUBLE)


@dataclass
class Pair:
    """One batch of problems, for them and for us."""

    case: str
    sense: Any

    def __post_init__(self):
        self.vectors = _matching_vectors(self.case)
        self.model = Listed(self.vectors, self.sense)
        self.sign = -1.0 if self.sense == EPO.MINIMIZE else 1.0
        self.theta = normal(BATCH, self.vectors.shape[1])
        self.weights = normal(*self.theta.shape, seed=1)
        # PyEPO's draw, as its source makes it.
        self.drawn = SIGMA * self.sign * normal(BATCH, SAMPLES, self.theta.shape[1], seed=135).movedim(1, 0)

    def problem(self, theta):
        if self.case == "one row":
            return Problem(NodeEdge(theta[:, None]))
        if self.case == "assignment":
            return Problem(NodeEdge(theta.unflatten(1, (3, 3))))
        edges = torch.tensor(EDGES).mT
        return Problem(NodeEdge(*(x.unflatten(1, (3, 3)) for x in theta.split(9, 1))), edges, edges)

    def ours(self, estimator):
        theta = self.theta.clone().requires_grad_()
        value = _flat(differentiable(BruteForce(), estimator)(self.problem(theta)).value)
        return value.detach(), torch.autograd.grad(value, theta, self.weights)[0]

    def theirs(self, module):
        theta = self.theta.clone().requires_grad_()
        value = module(self.sign * theta)
        return value.detach(), torch.autograd.grad(value, theta, self.weights)[0]

    def best(self, scores):
        return self.vectors[(scores @ self.vectors.mT).argmax(-1)]


def _agree(ours, theirs):
    for x, y in zip(ours, theirs, strict=True):
        assert torch.allclose(x, y, atol=1e-5)
    assert (ours[1] != 0).any()


@pytest.fixture(params=list(itertools.product(CASES, SENSES)), ids=lambda p: f"{p[0]}, {p[1].name.lower()}")
def pair(request):
    return Pair(*request.param)


def test_blackbox(pair):
    _agree(pair.ours(Blackbox(lam=3.0, normalize=False)), pair.theirs(blackboxOpt(pair.model, lambd=3.0)))


@pytest.mark.parametrize("estimator", [Identity(project=False), StraightThrough()])
def test_identity(pair, estimator):
    _agree(pair.ours(estimator), pair.theirs(negativeIdentity(pair.model)))


def test_imle(pair):
    class Distribution:
        def sample(self, size, device, dtype):
            return (pair.sign * pair.drawn).movedim(0, 1).to(dtype)

    module = implicitMLE(pair.model, n_samples=SAMPLES, lambd=2.0, distribution=Distribution())
    ours = pair.ours(IMLE(lam=2.0, noise=Given(pair.drawn), samples=SAMPLES, normalize=False))
    _agree(ours, pair.theirs(module))


def test_perturbed(pair):
    module = perturbedOpt(pair.model, n_samples=SAMPLES, sigma=SIGMA)
    _agree(pair.ours(Perturbed(noise=Given(pair.drawn), samples=SAMPLES)), pair.theirs(module))


def test_fenchel_young(pair):
    """PyEPO's loss lacks the noise at the target, which changes its value and not its gradient."""
    target = pair.best(normal(*pair.theta.shape, seed=2))
    theta = pair.theta.clone().requires_grad_()
    module = perturbedFenchelYoung(pair.model, n_samples=SAMPLES, sigma=SIGMA, reduction="none")
    theirs = module(pair.sign * theta, target)
    problem = pair.problem(theta)
    loss = FenchelYoung(BruteForce(), Given(pair.drawn), samples=SAMPLES)
    ours = loss(problem, _parts(target, problem.scores).node)
    at_target = (pair.drawn * target).sum(-1).mean(0)
    assert torch.allclose(ours, theirs - at_target)
    gradients = [torch.autograd.grad(x.sum(), theta, retain_graph=True)[0] for x in (ours, theirs)]
    assert torch.allclose(*gradients)


def test_spo_plus(pair):
    true = normal(*pair.theta.shape, seed=2)
    target, theta = pair.best(true), pair.theta.clone().requires_grad_()
    cost, value = pair.sign * true, (pair.sign * true * target).sum(-1, keepdim=True)
    theirs = TheirSPOPlus(pair.model, reduction="none")(pair.sign * theta, cost, target, value)
    problem = pair.problem(theta)
    wanted = _parts(target, problem.scores).node
    ours = SPOPlus(BruteForce())(problem, wanted, true_scores=_parts(true, problem.scores))
    assert torch.allclose(ours, theirs)
    gradients = [torch.autograd.grad(x.sum(), theta, retain_graph=True)[0] for x in (ours, theirs)]
    assert torch.allclose(*gradients)
    assert (gradients[0] != 0).any()
