"""The drawings of the method: what becomes a graph, and how a jump gets a gradient."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from style import BLUE, GREEN, ORANGE, RED, bare
from torch import Tensor

VIEWS = {"image": BLUE, "answer": ORANGE, "extended caption": GREEN}
NODES = torch.tensor([[0.0, 0.5], [0.5, 0.9], [1.0, 0.45], [0.55, 0.0]])
GAP = "score of the pair, less that of the one other pair"
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (1, 3)]


def method(figure: Figure) -> None:
    """A batch in three views, a graph of each, and the barycenter with which each graph is matched."""
    axes = figure.subplots()
    generator = torch.Generator().manual_seed(4)
    graphs = {name: NODES + 0.13 * torch.randn(4, 2, generator=generator) for name in VIEWS}
    center = torch.stack(list(graphs.values())).mean(0) + torch.tensor([5.9, 1.55])
    for row, (name, colour) in enumerate(VIEWS.items()):
        graph = graphs[name] + torch.tensor([2.6, 3.1 - 1.55 * row])
        box(axes, 0.0, 3.25 - 1.55 * row, name)
        axes.add_patch(FancyArrowPatch((1.72, 3.6 - 1.55 * row), (2.4, 3.6 - 1.55 * row), **arrow()))
        join(axes, graph, center, colour)
        net(axes, graph, colour)
    net(axes, center, RED)
    axes.text(6.4, 0.95, "barycenter", ha="center", va="top")
    axes.text(0.8, -0.42, "4 samples, 3 views", ha="center", va="top")
    axes.text(3.1, -0.42, "graphs of the batch", ha="center", va="top")
    axes.text(5.4, -0.42, "matchings: sample i to sample i", ha="center", va="top")
    axes.set(xlim=(-0.2, 7.3), ylim=(-0.8, 4.3))
    bare(axes)


def arrow() -> dict[str, Any]:
    return {"arrowstyle": "-|>", "mutation_scale": 10, "color": "0.55", "linewidth": 1}


def box(axes: Any, x: float, y: float, text: str) -> None:
    """A rounded box with a word in it."""
    shape = FancyBboxPatch((x, y), 1.6, 0.7, boxstyle="round,pad=0.06", fill=False, edgecolor="0.55")
    axes.add_patch(shape)
    axes.text(x + 0.8, y + 0.35, text, ha="center", va="center")


def net(axes: Any, nodes: Tensor, colour: str) -> None:
    """A graph: numbered nodes and its edges."""
    for i, j in EDGES:
        axes.plot(*nodes[[i, j]].T, color=colour, linewidth=1.4, zorder=2)
    axes.scatter(*nodes.T, s=110, color=colour, zorder=3)
    for number, (x, y) in enumerate(nodes.tolist()):
        axes.text(x, y, str(number + 1), ha="center", va="center_baseline", color="white", fontsize=7, zorder=4)


def join(axes: Any, first: Tensor, second: Tensor, colour: str) -> None:
    """A matching: a dotted line from each node to its partner."""
    for ends in torch.stack([first, second], 1):
        axes.plot(*ends.T, color=colour, linewidth=0.8, linestyle=":", zorder=1)


def jump(figure: Figure) -> None:
    """One score against another: the matching jumps, its mean under noise does not; its gradient and I-MLE's."""
    left, right = figure.subplots(1, 2)
    line = torch.linspace(-1, 1, 401)
    for width, style in ((0.05, ":"), (0.2, "-")):
        left.plot(line, (line / width).sigmoid(), color=BLUE, linestyle=style, label=f"mean, Gumbel noise of {width}")
    left.plot(line, (line > 0).float(), color=RED, label="the matching itself")
    left.set(title="a pair is made, or not", xlabel=GAP, yticks=(0, 1), ylim=(-0.05, 1.62))
    left.legend(loc="upper left", fontsize=7.5)
    slope = (line / 0.2).sigmoid() * (1 - (line / 0.2).sigmoid()) / 0.2
    right.plot(line, slope, color=BLUE, label="gradient of the mean, noise of 0.2")
    for lam, style in ((0.5, "--"), (2.0, ":")):
        moved = ((line / 0.2).sigmoid() - ((line - lam) / 0.2).sigmoid()) / lam
        right.plot(line, moved, color=GREEN, linestyle=style, label=f"mean of I-MLE, step of {lam}")
    right.set(title="its gradient, and I-MLE's", xlabel=GAP, ylim=(0, 2.1))
    right.legend(loc="upper left", fontsize=7.5)


PICTURES = {"method": ((7.2, 4.4), method), "jump": ((7.2, 3.0), jump)}
