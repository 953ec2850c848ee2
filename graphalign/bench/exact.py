r"""The exact gradient of small problems, and how far from it an estimator is.

A matching is piecewise constant in its scores, so an estimator can only be right about something smoother. What that
is, and so what "exact" means, depends on its family:

- With noise of its own (`imle`, `aimle`, `perturbed`): the gradient of the expected loss under that noise,
  $\nabla_\theta \, \mathbb E \langle w, y^\star(\theta + \epsilon)\rangle$. `perturbed` is unbiased for it; `imle`
  is a difference quotient of it, which approaches it as its step goes to zero.
- Without noise (`blackbox`, `identity`, `straight_through`, `detached`): the same under a noise of reference. These
  estimators do not claim it, so mind their `cosine` more than their `bias`, which counts their size too.
- A relaxed solver (`unrolled`, `implicit`): the gradient of the relaxed matching itself,
  $\langle w, X_\tau(\theta)\rangle$, at convergence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from graphalign import Gumbel, Lap, NodeEdge, Normal, Problem, Sinkhorn, Solution, differentiable, refusal

LARGEST = 120  # matchings: five nodes by five
REFERENCE = Gumbel(scale=0.2)
RELAXED = Sinkhorn(tau=0.1)
Law = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Quality:
    """How far an estimator's gradients are from the exact one; all but `ms` are relative to the exact one's norm.

    Args:
        bias: Norm of the mean gradient's error. Chance alone makes it about `std / sqrt(draws)`.
        std: Root of the mean squared distance of one gradient from the mean one.
        cosine: Mean cosine of the angle between one gradient and the exact one; a gradient of zero counts as 0.
        ms: Processor time of one gradient, forward and backward, in one batch of all draws, in milliseconds.
        error: Standard error of the exact gradient itself; 0 where it has a closed form.
    """

    bias: float
    std: float
    cosine: float
    ms: float
    error: float


@dataclass(frozen=True)
class Exact:
    """A gradient as one vector, node and edge parts flattened, and its standard error relative to its norm."""

    gradient: Tensor
    error: float


def gradient_quality(
    estimator: Any, problem: Problem, weights: NodeEdge, draws: int, seed: int, *, reference: Any = None
) -> Quality:
    r"""Compare `draws` independent gradients of $\langle w, y(\theta)\rangle$ with the exact one.

    Args:
        estimator: An estimator object; it gets an exact solver, or `sinkhorn` where it needs a relaxed one.
        problem: One small problem: no batch, masks or `unmatched`, at most 120 matchings.
        weights: $w$, in the space of the scores.
        draws: How many gradients are drawn.
        seed: Of the noise.
        reference: Noise that defines the exact gradient; by default the estimator's own, else `gumbel(0.2)`.

    Raises:
        ValueError: The problem is too large, its noise has no density known here, or the exact gradient is zero.
    """
    problem = replace(problem, scores=problem.scores.detach().to(torch.float64))
    weights, vertices = weights.to(torch.float64), all_matchings(problem)
    solver: Any = Lap() if problem.scores.edge is None else Enumerate(vertices)
    if refusal(solver, estimator) is None:
        exact = exact_gradient(problem, weights, reference or getattr(estimator, "noise", REFERENCE), seed=seed)
    else:
        solver, exact = RELAXED, relaxed_gradient(RELAXED, problem, weights)
    size = exact.gradient.norm()
    if not size > 0:
        raise ValueError("the exact gradient is zero: choose weights that differ between matchings")
    match = differentiable(solver, estimator)
    _gradients(match, problem, weights, 1, seed)  # a solver's engine is imported at its first call
    found, ms = _gradients(match, problem, weights, draws, seed)
    mean = found.mean(0)
    spread = (found - mean).square().sum(-1).mean().sqrt()
    cosine = torch.nn.functional.cosine_similarity(found, exact.gradient, dim=-1, eps=1e-300).mean()
    return Quality(float((mean - exact.gradient).norm() / size), float(spread / size), float(cosine), ms, exact.error)


def exact_gradient(
    problem: Problem, weights: NodeEdge, noise: Any, *, points: int = 8192, repeats: int = 8, seed: int = 0
) -> Exact:
    r"""Return $\nabla_\theta \, \mathbb E \langle w, y^\star(\theta + \epsilon)\rangle$ over independent noise.

    In closed form for one row under Gumbel noise (a softmax) and for two matchings under normal noise (a normal
    distribution function). Otherwise one entry of the noise is integrated out by hand: with $A$ the best score of the
    matchings without entry $i$, $B$ that of those with it, entry $i$ itself not counted, the matching changes from
    $y_A$ to $y_B$ where $\theta_i + \epsilon_i$ passes $A - B$, so that

    $$\frac{\partial}{\partial\theta_i} = \mathbb E_{\epsilon_{-i}} \bigl[ p(A - B - \theta_i) \,
      \langle w, y_B - y_A\rangle \bigr]$$

    with the density $p$. That is a mean of bounded numbers, without differences or weights, taken over scrambled Sobol
    points; the error is the standard error over independent scrambles.
    """
    theta, direction, vertices = _flat(problem.scores), _flat(weights), all_matchings(problem)
    known = _closed_form(problem, theta, direction, vertices, noise)
    if known is not None:
        return Exact(known, 0.0)
    gains = vertices @ direction
    estimates = torch.stack(
        [_smoothed(theta, gains, vertices, noise, points, seed * repeats + scramble) for scramble in range(repeats)]
    )
    mean = estimates.mean(0)
    error = (estimates.var(0) / repeats).sum().sqrt() / mean.norm()
    return Exact(mean, float(error) if mean.norm() > 0 else 0.0)


def relaxed_gradient(solver: Sinkhorn, problem: Problem, weights: NodeEdge, step: float = 1e-5) -> Exact:
    """Return the gradient of the converged plan by central differences, right to about the square of the step."""
    sharp = replace(solver, max_iter=20_000, tol=1e-12)
    theta, direction = _flat(problem.scores), _flat(weights)
    moves = step * torch.eye(len(theta), dtype=theta.dtype)
    plans = sharp(problem.with_scores(_shaped(theta + torch.cat([moves, -moves]), problem))).value
    ahead, behind = (_flat(plans) @ direction).chunk(2)
    return Exact((ahead - behind) / (2 * step), step**2)


@dataclass(frozen=True, eq=False)
class Enumerate:
    """The exact matching by looking at every one, all problems of the batch at once."""

    vertices: Tensor

    order: ClassVar[int] = 2
    differentiable: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; all have the edges that the vertices were made with."""
        best = (_flat(problem.scores) @ self.vertices.mT).argmax(-1)
        return Solution(_shaped(self.vertices[best], problem))


def all_matchings(problem: Problem) -> Tensor:
    """Return every matching as a vector, node and edge parts flattened, `(matchings, entries)`."""
    n, m = problem.scores.node.shape[-2:]
    plain = problem.mask1 is None and problem.mask2 is None and problem.unmatched is None
    if problem.batch_shape or not plain or math.perm(max(n, m), min(n, m)) > LARGEST:
        raise ValueError(
            f"exact gradients need one problem of at most {LARGEST} matchings, e.g. 5 x 5, without masks and "
            f"`unmatched`; got node scores of the shape {tuple(problem.scores.node.shape)}"
        )
    chosen = torch.tensor(list(permutations(range(max(n, m)), min(n, m))))
    node = torch.nn.functional.one_hot(chosen, max(n, m)).double()
    node = node if n <= m else node.mT
    edge = None if problem.scores.edge is None else problem.edge_matching(node)
    return _flat(NodeEdge(node, edge))


def _closed_form(problem: Problem, theta: Tensor, weights: Tensor, vertices: Tensor, noise: Any) -> Tensor | None:
    one_sided = min(problem.scores.node.shape) == 1 and problem.scores.edge is None
    if one_sided and isinstance(noise, Gumbel):
        chance = (theta / noise.scale).softmax(-1)
        return chance * (weights - chance @ weights) / noise.scale
    if len(vertices) == 2 and isinstance(noise, Normal):
        between = vertices[0] - vertices[1]
        deviation = noise.scale * between.norm()
        slope = _normal_density((theta @ between) / deviation) / deviation
        gradient: Tensor = (weights @ between) * slope * between
        return gradient
    return None


def _smoothed(theta: Tensor, gains: Tensor, vertices: Tensor, noise: Any, points: int, seed: int) -> Tensor:
    """One estimate of the gradient, over the points of one scrambled Sobol sequence."""
    quantile, density = _law(noise)
    engine = torch.quasirandom.SobolEngine(len(theta), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    uniform = engine.draw(points, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    perturbed = theta + quantile(uniform)
    totals, gradient = perturbed @ vertices.mT, torch.zeros_like(theta)
    for i in range(len(theta)):
        has = vertices[:, i] > 0
        if has.all() or not has.any():
            continue  # an entry that every matching or none has decides nothing
        without, first = totals[:, ~has].max(-1)
        among, second = (totals[:, has] - perturbed[:, i, None]).max(-1)
        jump = gains[has][second] - gains[~has][first]
        gradient[i] = (density(without - among - theta[i]) * jump).mean()
    return gradient


def _law(noise: Any) -> tuple[Law, Law]:
    """The quantile function and the density of a noise."""
    scale = getattr(noise, "scale", 0.0)
    if isinstance(noise, Gumbel) and scale > 0:
        return lambda u: -scale * (-u.log()).log(), lambda z: (-z / scale - (-z / scale).exp()).exp() / scale
    if isinstance(noise, Normal) and scale > 0:
        return lambda u: scale * torch.special.ndtri(u), lambda z: _normal_density(z / scale) / scale
    raise ValueError(
        f"the exact gradient needs gumbel or normal noise of a scale above 0; got {noise!r}; give another `reference`"
    )


def _normal_density(z: Tensor) -> Tensor:
    return (-z.square() / 2).exp() / math.sqrt(2 * math.pi)


def _gradients(
    match: differentiable, problem: Problem, weights: NodeEdge, draws: int, seed: int
) -> tuple[Tensor, float]:
    """Independent gradients `(draws, entries)`, all problems of one batch, and the milliseconds that each took."""
    scores = problem.scores.map(lambda x: x.expand(draws, *x.shape).clone().requires_grad_())
    started = time.process_time()
    value = match(problem.with_scores(scores), generator=Generator().manual_seed(seed)).value
    outputs, inputs = value.tensors(), scores.tensors()
    if not any(x.requires_grad for x in outputs):
        return torch.zeros_like(_flat(scores)), 1000 * (time.process_time() - started) / draws
    upstream = weights.map(lambda w: w.expand(draws, *w.shape)).tensors()
    grads = torch.autograd.grad(outputs, inputs, upstream)
    return torch.cat([x.flatten(-2) for x in grads], -1), 1000 * (time.process_time() - started) / draws


def _flat(vector: NodeEdge) -> Tensor:
    return torch.cat([x.flatten(-2) for x in vector.tensors()], -1)


def _shaped(flat: Tensor, problem: Problem) -> NodeEdge:
    """The inverse of `_flat`, for the parts of a problem."""
    parts = problem.scores.tensors()
    pieces = torch.split(flat, [x.shape[-2] * x.shape[-1] for x in parts], -1)
    shaped = [p.reshape(*p.shape[:-1], *x.shape[-2:]) for p, x in zip(pieces, parts, strict=True)]
    return NodeEdge.of(*shaped)
