"""The pictures of the tutorials, drawn with the tutorials' own programs."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import torch
from matplotlib.figure import Figure
from style import BLUE, GREEN, IMAGES, ORANGE, RED, bare
from torch.nn.functional import normalize

import graphalign as ga


def program(name: str) -> ModuleType:
    """The program of a tutorial."""
    spec = importlib.util.spec_from_file_location(name, IMAGES.parent / "tutorials" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- first matching -------------------------------------------------------------------------------------------------


def first_matching(figure: Figure) -> None:
    """Scores, the best partner of every row by itself, and the best matching."""
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.3, 0.2], [0.2, 0.7, 0.6]])
    matching = ga.Lap()(ga.Problem(ga.NodeEdge(scores))).matching
    alone = torch.nn.functional.one_hot(scores.argmax(1), 3)
    titles = ("scores", "each row for itself", "the best matching")
    for axes, title, chosen in zip(figure.subplots(1, 3), titles, (None, alone, matching), strict=True):
        axes.imshow(scores.numpy(), cmap="cividis", vmin=0, vmax=1, alpha=0.85)
        axes.set(title=title, xticks=range(3), yticks=range(3), xlabel="node of the second graph")
        for i, row in enumerate(scores.tolist()):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.1f}", ha="center", va="center", color="white" if value < 0.55 else "black")
                if chosen is not None and chosen[i, j]:
                    axes.add_patch(_frame(j, i))
    figure.axes[0].set_ylabel("node of the first graph")


def _frame(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.44, y - 0.44), 0.88, 0.88, fill=False, edgecolor=RED, linewidth=3)


# --- gradients ------------------------------------------------------------------------------------------------------


def seen_gradients(figure: Figure) -> None:
    """The loss and its mean under noise as maps; descent directions of the estimators over the latter."""
    tutorial = program("seen_gradients")
    points, coarse = tutorial.grid(steps=13), tutorial.grid(steps=33)
    panels = figure.subplots(2, 3, sharex=True, sharey=True).flatten()
    span = {"extent": (-1, 1, -1, 1), "cmap": "cividis", "vmin": 0, "vmax": 1}
    titles = ["the loss: three plateaus", "its mean under noise"]
    titles += ["straight-through", "blackbox, λ = 2", "I-MLE, λ = 0.5, one draw", "perturbed, one draw"]
    names = [tutorial.ESTIMATORS[i] for i in (0, 2, 3, 4)]
    fields = [None, tutorial.true_gradient(points)] + [tutorial.estimated_gradient(name, points) for name in names]
    for axes, title, field in zip(panels, titles, fields, strict=True):
        if field is None:
            axes.imshow(tutorial.loss(tutorial.grid(steps=101)).numpy(), origin="lower", **span)
        else:
            axes.contourf(*coarse.movedim(-1, 0).numpy(), tutorial.expected_loss(coarse).numpy(), levels=16, **span)
            axes.set_aspect("equal")
        axes.set(title=title, xticks=[], yticks=[])
        if field is not None:
            arrows(axes, points, -field)


def arrows(axes: Any, points: torch.Tensor, field: torch.Tensor) -> None:
    """Arrows in the direction of the field, a dot where it is zero."""
    none = field.norm(dim=-1) < 1e-6
    step = normalize(field, dim=-1) * (field.norm(dim=-1, keepdim=True) / field.norm(dim=-1).max()) ** 0.5
    axes.quiver(*points[~none].T, *step[~none].T, color="white", scale=16, width=0.008, headwidth=4, pivot="middle")
    axes.plot(*points[none].T, ".", color="white", markersize=2.5)


# --- key points -----------------------------------------------------------------------------------------------------


def keypoints(figure: Figure) -> None:
    """A scene with the matching of positions and of distances, and accuracy by blur."""
    tutorial = program("keypoints")
    points, moved, partner = tutorial.scene(blur=0.04, seed=3)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    pairs(left, "by position", points, moved, partner, tutorial.by_position(points, moved))
    pairs(middle, "by distances", points, moved, partner, tutorial.by_solver(ga.FAQ(), points, moved))
    for (method, colour), mark in zip(
        {"lap, positions": ORANGE, "faq": BLUE, "rrwm": GREEN, "pygmtools' rrwm": RED}.items(), "sov^", strict=True
    ):
        shares = [tutorial.accuracy(method, blur, 20)[0] for blur in tutorial.BLURS]
        right.plot(tutorial.BLURS, shares, marker=mark, color=colour, label=method, markersize=4)
    right.set(title="points that find their partner", xlabel="blur, of the side of the square", ylim=(0, 1.03))
    right.legend()


def pairs(axes: Any, title: str, points: torch.Tensor, moved: torch.Tensor, partner: Any, found: Any) -> None:
    """Two sets of points above one another; right pairs solid, wrong ones dashed and red."""
    below = moved - moved.mean(0) - torch.tensor([0.0, 1.6])
    above = points - points.mean(0)
    for i, j in enumerate(found.tolist()):
        is_right = j == int(partner[i])
        style = {"color": BLUE, "linestyle": "-"} if is_right else {"color": RED, "linestyle": "--"}
        axes.plot(*torch.stack([above[i], below[j]]).T, linewidth=1, **style)
    axes.plot(*above.T, "o", color=GREEN, markersize=5)
    axes.plot(*below.T, "s", color=ORANGE, markersize=5)
    axes.set_title(f"{title}: {int((found == partner).sum())} of {len(points)} right")
    bare(axes)


# --- two encoders ---------------------------------------------------------------------------------------------------


def two_encoders(figure: Figure) -> None:
    """Retrieval by method, and pairs found without training by the number of known ones. Needs the two archives."""
    tutorial = program("two_encoders")
    parts = (*tutorial.split(tutorial.reports(tutorial.fetched(tutorial.REPORTS))), tutorial.minilm())
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    bars(left, tutorial.retrieval(*parts, steps=300, seeds=5))
    left.axvline(10 / tutorial.TEST, color=RED, linestyle=":")
    left.text(10 / tutorial.TEST, -0.5, "chance", ha="center", va="bottom", color=RED, fontsize=7.5)
    left.set(title="own among ten nearest of 200", xlim=(0, 0.85))
    styles = {"one text": (BLUE, "o"), "two texts": (ORANGE, "s")}
    for name, figures in tutorial.matchings(*parts, draws=5).items():
        colour, mark = styles[name]
        for column, line, with_what in ((0, ":", "known pairs alone"), (1, "-", "and the graphs")):
            style = {"color": colour, "marker": mark, "linestyle": line, "markersize": 4}
            share = figures[:, :, column]
            right.errorbar(tutorial.KNOWN, share.mean(1), share.std(1, unbiased=False), capsize=2, **style)
            right.plot([], [], label=f"{name}, {with_what}", **style)
    right.set(title="right among the others, untrained", xlabel="known pairs, of 100", ylim=(-0.03, 1.45))
    right.set_yticks([0, 0.25, 0.5, 0.75, 1])
    right.legend(loc="upper left", fontsize=7.5)


def bars(axes: Any, found: dict[str, torch.Tensor]) -> None:
    """A bar for each method, from its mean over seeds, and a dot for each seed."""
    for row, (name, each) in enumerate(found.items()):
        ten = each[:, 1]
        axes.barh(row, float(ten.mean()), color=BLUE if name == "alignment" else GREEN, alpha=0.55)
        axes.plot(ten, [row] * len(ten), "|", color=ORANGE)
        axes.text(float(ten.max()) + 0.03, row, f"{float(ten.mean()):.2f}", va="center")
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()


# --- cells of two assays --------------------------------------------------------------------------------------------


def cells_of_two_assays(figure: Figure) -> None:
    """The gap over the rounds of the search, and how many cells of each type are right."""
    tutorial = program("cells_of_two_assays")
    assays = tutorial.cells(5000)
    columns, _, course = tutorial.match(assays)
    alone = tutorial.nearest(assays)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    rounds = [state for state in course if state.what == "matched"]
    left.semilogy([state.done for state in rounds], [max(state.gap, 1e-9) for state in rounds], "o-", markersize=4)
    left.axhline(1e-5, linestyle=":", color=RED)
    left.set(title="proved gap to the best matching", xlabel="round of the search")
    left.xaxis.get_major_locator().set_params(integer=True)
    types = range(tutorial.TYPES)
    for found, name, colour, shift in ((columns, "one-to-one matching", BLUE, 0), (alone, "nearest cell", ORANGE, 0.4)):
        good = found == assays.partner
        share = [float(good[assays.types == kind].mean()) for kind in types]
        right.bar([kind + shift for kind in types], share, 0.38, color=colour, label=name)
    right.set(title="cells matched with their own", xlabel="cell type", ylim=(0, 1.25))
    right.set_xticks([kind + 0.2 for kind in types], [str(kind + 1) for kind in types])
    right.legend(loc="upper right", fontsize=7.5)


PICTURES = {
    "cells-of-two-assays": ((7.2, 3.0), cells_of_two_assays),
    "first-matching": ((7.2, 2.9), first_matching),
    "seen-gradients": ((7.2, 5.2), seen_gradients),
    "keypoints": ((7.2, 3.1), keypoints),
    "two-encoders": ((7.2, 3.3), two_encoders),
}
