"""How much noise, and which barycenter? Three views of the same samples are aligned from scratch.

Run it: `python docs/tutorials/noise_and_barycenter.py` (a table after a few minutes on one core; `--help` for less).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

import graphalign as ga

VIEWS, FACTORS, WIDTH, NODES, TEST = ("image", "answer", "caption"), 16, 64, 32, 200
# barycenter, scale of the Gumbel noise
ARMS = [
    ("mean", 0.05),
    ("mean", 0.2),
    ("mean", 0.5),
    ("leave_one_out", 0.05),
    ("leave_one_out", 0.2),
    ("pairwise", 0.2),
]

Views = Mapping[str, Tensor]


class World:
    """Samples of 16 hidden factors, each seen in three ways that have no coordinate in common."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.mixing = {name: self._normal(FACTORS, WIDTH) / FACTORS**0.5 for name in VIEWS}

    def samples(self, count: int) -> Views:
        """Returns the views `(count, 64)` of fresh samples."""
        factors = self._normal(count, FACTORS)
        return {name: (factors @ mix).tanh() + 0.4 * self._normal(count, WIDTH) for name, mix in self.mixing.items()}

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


class Encoders(nn.ModuleDict):
    """A network of two layers for each view."""

    def __init__(self) -> None:
        super().__init__({name: nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 32)) for name in VIEWS})

    def forward(self, views: Views) -> Views:
        return {name: self[name](x) for name, x in views.items()}


def train(barycenter: str, noise: float, steps: int, seed: int) -> float:
    """Returns the retrieval of unseen samples after training."""
    torch.manual_seed(seed)  # the encoders' initial weights
    generator = Generator().manual_seed(seed)
    world, encoders = World(generator), Encoders()
    match = ga.differentiable(ga.Lap(), ga.IMLE(lam=10.0, noise=ga.Gumbel(noise), samples=4))
    loss = ga.AlignmentLoss(match, graph=ga.KNN(k=5), barycenter=barycenter)
    optimizer = torch.optim.Adam(encoders.parameters(), lr=1e-3)
    for _ in range(steps):
        out = loss(encoders(world.samples(NODES)), generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    return retrieval(encoders(world.samples(TEST)))


@torch.no_grad()
def retrieval(views: Views) -> float:
    """The share of samples whose nearest neighbour in another view is the sample itself, in the mean over pairs."""
    unit = {name: nn.functional.normalize(x, dim=-1) for name, x in views.items()}
    hits = [
        (unit[first] @ unit[second].T).argmax(-1) == torch.arange(len(unit[first]))
        for first in VIEWS
        for second in VIEWS
        if first != second
    ]
    return float(torch.stack(hits).float().mean())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Alignment of three views by noise and barycenter.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'barycenter':<14} {'noise':>5}   nearest neighbour right (chance {1 / TEST:.3f}), mean of seeds, and each")
    for barycenter, noise in ARMS:
        found = [train(barycenter, noise, arguments.steps, seed) for seed in range(arguments.seeds)]
        print(f"{barycenter:<14} {noise:>5}   {statistics.mean(found):.3f}   {' '.join(f'{x:.3f}' for x in found)}")


if __name__ == "__main__":
    main()
