"""The behaviour of gradient estimators, on a problem small enough to be drawn in the plane.

    python docs/tutorials/seen_gradients.py

One node chooses among three candidates. A constant added to all scores changes nothing, so the plane in which scores
sum to zero is the whole space of scores. Prints a table (seconds on one core).
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

import graphalign as ga

COSTS = torch.tensor([0.0, 0.3, 1.0])  # what each candidate costs: the first is right, the last is the worst
SCALE = 0.2  # of the Gumbel noise
# An orthonormal basis of the plane in which scores sum to zero; the right candidate is at the top.
PLANE = torch.tensor([[0.0, -1.0, 1.0], [2.0, -1.0, -1.0]]) / torch.tensor([[math.sqrt(2)], [math.sqrt(6)]])
ESTIMATORS = (
    "straight_through",
    "blackbox(lam=0.5)",
    "blackbox(lam=2.0)",
    f"imle(lam=0.5, noise=gumbel({SCALE}), samples=4)",
    f"perturbed(noise=gumbel({SCALE}), samples=4)",
)


def loss(points: Tensor) -> Tensor:
    """The cost of the candidate of highest score, at points `(..., 2)` of the plane: three plateaus."""
    return COSTS[(points @ PLANE).argmax(-1)]


def expected_loss(points: Tensor) -> Tensor:
    """The mean of that cost under Gumbel noise on the scores: a softmax, and smooth."""
    return (points @ PLANE / SCALE).softmax(-1) @ COSTS


def true_gradient(points: Tensor) -> Tensor:
    """The gradient of the expected loss, `(..., 2)`."""
    points = points.clone().requires_grad_()
    return torch.autograd.grad(expected_loss(points).sum(), points)[0]


def estimated_gradient(name: str, points: Tensor, seed: int = 0) -> Tensor:
    """The gradient that an estimator puts in the place of the zero of the plateaus, at points `(..., 2)`."""
    points = points.clone().requires_grad_()
    match = ga.differentiable(ga.Lap(), ga.build("estimator", name))
    problem = ga.Problem(ga.NodeEdge((points @ PLANE)[..., None, :]))
    chosen = match(problem, generator=Generator().manual_seed(seed)).matching[..., 0, :]
    return torch.autograd.grad((chosen @ COSTS).sum(), points)[0]


def grid(reach: float = 1.0, steps: int = 15) -> Tensor:
    """Points `(steps, steps, 2)` of a square around the origin."""
    line = torch.linspace(-reach, reach, steps)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)


def zero_share(name: str) -> float:
    """The share of points of the grid at which the estimate is zero."""
    return float((estimated_gradient(name, grid(steps=40)).norm(dim=-1) < 1e-9).float().mean())


def agreement(name: str, draws: int = 100) -> tuple[float, float]:
    """Cosine with the gradient of the expected loss, of the mean over draws and of a single draw, near the edges."""
    points = grid(steps=9).flatten(0, 1)
    points = points[true_gradient(points).norm(dim=-1) > 0.05]  # elsewhere there is hardly anything to agree with
    drawn = torch.stack([estimated_gradient(name, points, seed) for seed in range(draws)])
    true = true_gradient(points)
    cosine = torch.nn.functional.cosine_similarity
    return float(cosine(drawn.mean(0), true, dim=-1).mean()), float(cosine(drawn, true[None], dim=-1).mean())


def arrivals(name: str, steps: int = 150, rate: float = 0.05) -> float:
    """The share of starting points with a wrong choice that gradient descent leads to the right one."""
    points = grid(steps=12).flatten(0, 1)
    points = points[loss(points) > 0]
    for step in range(steps):
        points = points - rate * estimated_gradient(name, points, seed=step)
    return float((loss(points) == 0).float().mean())


def main() -> None:
    """Prints a line for each estimator."""
    print(f"{'estimator':<46} {'zero at':>8} {'cosine, mean':>13} {'one draw':>9} {'arrive':>7}")
    for name in ESTIMATORS:
        mean, single = agreement(name)
        print(f"{name:<46} {zero_share(name):>8.0%} {mean:>13.2f} {single:>9.2f} {arrivals(name):>7.0%}")


if __name__ == "__main__":
    main()
