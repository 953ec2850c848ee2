"""Learning curves from the lines of metrics.jsonl."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medmllm.evaluate.measurable import without_chance
from medmllm.plots.style import BLUE, FAINT, GREEN, INK, ORANGE, figure, quiet, save

Line = Mapping[str, Any]
_SMOOTHED_FROM = 40  # points from which a running mean is drawn over the raw curve


@dataclass(frozen=True, slots=True)
class _Curve:
    key: str  # "validation." reads the validation lines
    label: str
    colour: str


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    curves: tuple[_Curve, ...]
    share: bool = False
    logarithmic: bool = False


_PANELS = (
    _Panel("Language-model loss", (_Curve("loss_lm", "training", BLUE),)),
    _Panel("Alignment loss", (_Curve("loss_align", "training", ORANGE),)),
    _Panel(
        "Matching accuracy",
        (
            _Curve("matching_accuracy", "training, with noise", ORANGE),
            _Curve("validation.matching_accuracy", "validation", GREEN),
        ),
        share=True,
    ),
    _Panel("Exact answers, validation", (_Curve("validation.accuracy", "validation", GREEN),), share=True),
    _Panel(
        "Gradient norm",
        (_Curve("grad_norm", "all losses", BLUE), _Curve("grad_norm_align", "alignment", ORANGE)),
        logarithmic=True,
    ),
    _Panel("Learning rate", (_Curve("lr", "training", BLUE),)),
)


def plot_curves(metrics: Sequence[Line], path: Path) -> Path:
    """Draw losses, accuracies, gradient norms and learning rate over the steps of a run.

    Dotted lines part the stages. Panels without figures are left out, and so are figures that are not finite.

    Args:
        metrics: lines of metrics.jsonl; every key but "step" may be absent.
        path: PNG to write.

    Returns:
        The path.
    """
    from matplotlib.ticker import MaxNLocator

    shown = [panel for panel in _PANELS if _has_figures(panel, metrics)]
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    drawn = figure(3.4 * columns, 2.45 * rows)
    grid = drawn.subplots(rows, columns, squeeze=False).ravel()
    last = max((line["step"] for line in metrics), default=1)
    for index, (axes, panel) in enumerate(zip(grid, shown, strict=False)):
        _draw(axes, panel, metrics)
        _mark_stages(axes, metrics, named=index < columns)
        axes.set_xlim(0, 1.02 * last)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlabel("step" if index >= columns * (rows - 1) else "", fontsize=8.5, color=FAINT)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    if not shown:
        grid[0].text(0.5, 0.5, "no figures yet", ha="center", va="center", color=FAINT, transform=grid[0].transAxes)
    return save(drawn, path)


def _draw(axes: Any, panel: _Panel, metrics: Sequence[Line]) -> None:
    quiet(axes, panel.title)
    for curve in panel.curves:
        steps, values = _points(metrics, curve.key, positive=panel.logarithmic)
        if steps.size:
            _draw_curve(axes, curve, steps, values)
    _scale(axes, panel)
    if len(panel.curves) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)


def _scale(axes: Any, panel: _Panel) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.01 if panel.share else None)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if panel.share else f"{value:g}")


def _draw_curve(axes: Any, curve: _Curve, steps: np.ndarray, values: np.ndarray) -> None:
    if len(values) >= _SMOOTHED_FROM and curve.key != "lr":
        axes.plot(steps, values, color=curve.colour, linewidth=0.7, alpha=0.3)
        axes.plot(steps, _smooth(values), color=curve.colour, linewidth=1.8, label=curve.label)
        return
    few = len(values) < 15  # show that they are points, the first one at the frame whole
    style = {"color": curve.colour, "linewidth": 1.8, "label": curve.label, "clip_on": not few}
    axes.plot(steps, values, marker="o" if few else None, markersize=4, **style)


def _mark_stages(axes: Any, metrics: Sequence[Line], *, named: bool) -> None:
    """A dotted line where the stage changes, with the new stage's name in the first row of panels."""
    stages = [(line["step"], line["stage"]) for line in metrics if "stage" in line]
    changes = [b for (_, before), b in itertools.pairwise(stages) if before != b[1]]
    for step, name in changes:
        axes.axvline(step, color=FAINT, linewidth=1, linestyle=":")
        if named:
            place = axes.get_xaxis_transform()
            axes.text(step, 0.99, f" {name}", fontsize=7.5, color=FAINT, va="top", transform=place)


def _has_figures(panel: _Panel, metrics: Sequence[Line]) -> bool:
    return any(_points(metrics, curve.key, positive=panel.logarithmic)[0].size for curve in panel.curves)


def _points(metrics: Sequence[Line], key: str, *, positive: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a key where it is a finite number, and a positive one for a logarithmic axis."""
    inner = key.removeprefix("validation.")
    lines = (
        metrics
        if inner == key
        else [{"step": m["step"], **without_chance(m["validation"])} for m in metrics if "validation" in m]
    )
    found = [(line["step"], line[inner]) for line in lines if line.get(inner) is not None]
    table = np.array(found, dtype=np.float64).reshape(-1, 2)
    keep = np.isfinite(table[:, 1]) & (table[:, 1] > 0 if positive else True)
    return table[keep, 0], table[keep, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over a twentieth of the points; the window shrinks at both ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
