"""Matchings as heat maps: who was matched to whom, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from medmllm.plots.style import BLUE, FAINT, GRID, INK, RED, figure, quiet, save

_LABELLED_UP_TO = 16  # nodes whose names are still readable


def matching_heatmap(
    before: ArrayLike,
    after: ArrayLike,
    groups: ArrayLike,
    path: Path,
    *,
    labels: Sequence[str] | None = None,
    views: tuple[str, str] = ("image", "caption"),
) -> Path:
    """Draw a matching before and after training, true pairs outlined, wrong ones orange and crossed.

    Rows are sorted by group, so that interchangeable samples stand together. The figure in each title is the share
    of the n nodes that are matched to their own sample, or to one interchangeable with it.

    Args:
        before: (n, n) matrix in [0, 1]; rows are matched to columns.
        after: the same nodes after training.
        groups: (n,) samples of one group are interchangeable, so every pair of a group is true.
        path: PNG to write.
        labels: n names of the samples; drawn where there are few enough to read.
        views: what the rows and the columns are.

    Returns:
        The path.
    """
    order = np.argsort(np.asarray(groups), kind="stable")
    same = np.equal.outer(np.asarray(groups)[order], np.asarray(groups)[order])
    names = [labels[i] for i in order] if labels is not None and len(order) <= _LABELLED_UP_TO else []
    drawn = figure(9.6 if names else 8.4, 5.9 if names else 4.8)
    panels = drawn.subplots(1, 2, squeeze=False).ravel()
    for axes, title, matching in zip(panels, ("before training", "after training"), (before, after), strict=True):
        _draw(axes, title, np.asarray(matching, dtype=np.float64)[np.ix_(order, order)], same)
        axes.set_xlabel(f"{views[1]} nodes", fontsize=9, color=INK)
        _name(axes, names, rows=axes is panels[0])
    panels[0].set_ylabel(f"{views[0]} nodes", fontsize=9, color=INK)
    _explain(drawn)
    return save(drawn, path)


def _draw(axes: Any, title: str, matching: np.ndarray, same: np.ndarray) -> None:
    right = float((matching * same).sum() / len(matching))
    quiet(axes, f"{title}: {100 * right:.0f} % right")
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(GRID)
    for colours, mask in (("Blues", same), ("Oranges", ~same)):  # the darker, the more surely matched
        shown = np.where(mask & (matching > 0), matching, np.nan)
        axes.imshow(shown, cmap=colours, vmin=-0.2, vmax=1.25)
    rows, columns = np.nonzero((matching > 0.5) & ~same)
    axes.plot(columns, rows, "x", color="white", markersize=max(2.0, 7.5 - len(matching) / 8), markeredgewidth=1.3)
    _outline(axes, same)


def _outline(axes: Any, same: np.ndarray) -> None:
    """A box around every block of true pairs; groups stand together, so blocks lie on the diagonal."""
    from matplotlib.patches import Rectangle

    start = 0
    while start < len(same):
        size = int(same[start].sum())
        corner = (start - 0.5, start - 0.5)
        box = Rectangle(corner, size, size, fill=False, edgecolor=INK, linewidth=1.0, clip_on=False, zorder=3)
        axes.add_patch(box)
        start += size


def _name(axes: Any, names: Sequence[str], *, rows: bool) -> None:
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=55, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_yticks(ticks if rows else [], names if rows else [], fontsize=7.5)
    axes.tick_params(length=0)


def _explain(drawn: Any) -> None:
    from matplotlib.lines import Line2D

    square: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 8}
    handles = [
        Line2D([], [], color=BLUE, label="right match", **square),
        Line2D([], [], color=RED, label="wrong match (×)", **square),
        Line2D([], [], markerfacecolor="none", markeredgecolor=INK, label="true pair", **square),
    ]
    drawn.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5, frameon=False, labelcolor=FAINT)
