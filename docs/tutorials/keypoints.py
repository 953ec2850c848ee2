"""Key points that turned and moved, matched by what lies between them; beside pygmtools called on its own.

    python docs/tutorials/keypoints.py

Twelve points of a plane, and the same points turned by an unknown angle, blurred, and in another order. Positions say
nothing after a turn; distances between points do. Prints a table (about 10 seconds on one core).
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import time
from collections.abc import Callable

import pygmtools
import torch
from torch import Generator, Tensor

import graphalign as ga

POINTS, WIDTH = 12, 0.15  # how many, and which difference of two distances is large
BLURS = (0.0, 0.02, 0.04, 0.06, 0.08)
Scene = tuple[Tensor, Tensor, Tensor]


def scene(blur: float, seed: int) -> Scene:
    """Points `(n, 2)`, the turned and blurred ones, and the partner of each `(n)`."""
    generator = Generator().manual_seed(seed)
    points = torch.rand(POINTS, 2, generator=generator)
    angle = 2 * math.pi * float(torch.rand((), generator=generator))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    partner = torch.randperm(POINTS, generator=generator)
    moved = torch.empty_like(points)
    moved[partner] = points @ turn.T + blur * torch.randn(POINTS, 2, generator=generator)
    return points, moved, partner


def distances(points: Tensor) -> ga.ModalityGraph:
    """The graph of all pairs of points, with their distance as the edge's feature; nodes say nothing."""
    graph = ga.Complete()(points)
    lengths = graph.edge_attr.norm(dim=-1, keepdim=True)
    return ga.ModalityGraph(torch.zeros(len(points), 1), graph.edge_index, edge_features=lengths)


def problem(points: Tensor, moved: Tensor) -> ga.Problem:
    """Pairs of edges score by how alike their lengths are."""
    first, second = distances(points), distances(moved)
    scores = ga.Gaussian(sigma=WIDTH / math.sqrt(2), edge_weight=1.0)(first, second, order=2)
    return ga.Problem(scores, first.edge_index, second.edge_index)


def by_position(points: Tensor, moved: Tensor) -> Tensor:
    """Nearest positions around the centre: what a first-order solver can see."""
    centred = points - points.mean(0), moved - moved.mean(0)
    return ga.Lap()(ga.Problem(ga.NodeEdge(-torch.cdist(*centred)))).matching.argmax(-1)


def by_solver(solver: ga.Solver, points: Tensor, moved: Tensor) -> Tensor:
    """The second-order matching of any solver of graphalign."""
    return solver(problem(points, moved)).matching.argmax(-1)


def by_pygmtools(points: Tensor, moved: Tensor) -> Tensor:
    """The same scores, built and solved by pygmtools alone."""
    first, second = distances(points), distances(moved)
    nodes, edges = torch.tensor([POINTS]), torch.tensor([POINTS * (POINTS - 1)])
    alike = functools.partial(pygmtools.utils.gaussian_aff_fn, sigma=WIDTH**2, backend="pytorch")
    sides = (
        part for graph in (first, second) for part in (None, graph.edge_attr[None], graph.edge_index.T[None])
    )  # features of nodes, of edges, and which nodes these join
    matrix = pygmtools.utils.build_aff_mat(*sides, nodes, edges, nodes, edges, edge_aff_fn=alike, backend="pytorch")
    relaxed = pygmtools.rrwm(matrix, nodes, nodes, backend="pytorch")
    return pygmtools.hungarian(relaxed, backend="pytorch")[0].argmax(-1)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "lap, positions": by_position,
    "faq": functools.partial(by_solver, ga.FAQ()),
    "rrwm": functools.partial(by_solver, ga.RRWM()),
    "pygmtools' rrwm": by_pygmtools,
}


def accuracy(method: str, blur: float, scenes: int) -> tuple[float, float]:
    """The mean share of points that find their partner, and the median milliseconds of processor time of a call."""
    right, spent = [], []
    for seed in range(scenes):
        points, moved, partner = scene(blur, seed)
        start = time.process_time()
        found = METHODS[method](points, moved)
        spent.append(1e3 * (time.process_time() - start))
        right.append(float((found == partner).float().mean()))
    return statistics.mean(right), statistics.median(spent)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Matching of key points by distances.")
    parser.add_argument("--scenes", type=int, default=20)
    scenes = parser.parse_args().scenes
    print(f"{'right, by blur':<16}" + "".join(f"{blur:>7}" for blur in BLURS) + "     ms")
    for method in METHODS:
        shares, spent = zip(*(accuracy(method, blur, scenes) for blur in BLURS), strict=True)
        print(f"{method:<16}" + "".join(f"{share:>7.2f}" for share in shares) + f"{statistics.median(spent):>7.1f}")


if __name__ == "__main__":
    main()
