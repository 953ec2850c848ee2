"""Charts of a sweep: differences with intervals, settings crossed, learning curves, quality against time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medmllm.ablate.report.svg import Picture
from medmllm.ablate.report.tables import signed
from medmllm.ablate.results import Arm, Results
from medmllm.evaluate.measurable import without_chance
from medmllm.plots.style import BLUE, FAINT, GREEN, INK, ORANGE, RED, figure, quiet

WIDTH = 5.4  # inches; a page scales it, and on a phone its letters can still be read
STYLES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (RED, ":", "D"), (INK, (0, (5, 1)), "v"))
CURVES = {
    "validation.accuracy": "Exact answers, validation",
    "validation.matching_accuracy": "Matching accuracy, validation",
    "loss_lm": "Language-model loss",
}
Lines = Sequence[Mapping[str, Any]]  # of one metrics.jsonl
Band = tuple[np.ndarray, np.ndarray, np.ndarray]  # steps, lowest, highest


def charts(results: Results) -> Iterator[Picture]:
    """Every picture for which the sweep has figures."""
    ranked = [arm for arm in results.arms if arm.mean is not None]
    if any(_spread(arm) for arm in ranked):
        yield forest(results)
    if ranked and (axes := crossed(results)):
        yield interaction(results, *axes)
    runs = {arm.label: [run.curve for run in results.done(arm)] for arm in ranked}
    yield from curves(runs)
    if any(arm.ms_per_step for arm in ranked):
        yield quality_chart(results)


def curves(runs: Mapping[str, Sequence[Lines]]) -> Iterator[Picture]:
    """A picture for each figure that the runs have logged; label -> the lines of its runs."""
    for key, title in CURVES.items():
        found = {label: bands(lines, key) for label, lines in runs.items()}
        found = {label: band for label, band in found.items() if len(band[0]) > 1}
        if found:
            yield learning(key, title, found)


def forest(results: Results) -> Picture:
    """Differences from the reference with their intervals, one row each."""
    arms = [arm for arm in results.arms if _spread(arm)]
    drawn = figure(WIDTH, 0.9 + 0.5 * len(arms))
    axes = drawn.subplots()
    quiet(axes, "")
    axes.axvline(0, color=FAINT, linewidth=1.2, linestyle="--")
    for row, arm in enumerate(arms):
        _interval(axes, row, arm)
    axes.set(ylim=(len(arms) - 0.6, -0.8), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference in exact answers, points", fontsize=9, color=INK)
    alt = "; ".join(_told(arm) for arm in arms)
    caption = (
        f"Difference from {results.reference}, with 95 % intervals. Filled: significant after Holm's correction; open: "
        f"not. An interval is for one comparison, so it may miss the line where the corrected p does not."
    )
    return Picture.of(drawn, "forest", "Difference from the reference", alt=alt, caption=caption)


def crossed(results: Results) -> tuple[str, str] | None:
    """The first two axes with more than one value."""
    many = [axis for axis in results.axes if len({arm.point[axis] for arm in results.arms}) > 1]
    return (many[0], many[1]) if len(many) > 1 else None


def interaction(results: Results, first: str, second: str) -> Picture:
    """Mean accuracy for every value of one setting with every value of another."""
    rows, columns = (list(dict.fromkeys(o.point[axis] for o in results.runs)) for axis in (first, second))
    table = np.array([[_mean(results, {first: row, second: column}) for column in columns] for row in rows])
    drawn = figure(WIDTH, 1.1 + 0.55 * len(rows))
    axes = drawn.subplots()
    low, high = np.nanmin(table), max(np.nanmax(table), np.nanmin(table) + 1)
    axes.pcolormesh(np.ma.masked_invalid(table), cmap="cividis", vmin=low, vmax=high, edgecolors="none")
    for (row, column), value in np.ndenumerate(table):
        dark = np.isnan(value) or value > (low + high) / 2
        colour = FAINT if np.isnan(value) else "#000000" if dark else "#ffffff"
        text = "–" if np.isnan(value) else f"{value:.1f}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=10, color=colour)
    _name(axes, rows, columns, first, second)
    pairs = [f"{row} with {column} {table[r, c]:.1f}" for r, row in enumerate(rows) for c, column in enumerate(columns)]
    others = [axis for axis in results.axes if axis not in (first, second)]
    averaged = f" Means over {', '.join(others)}." if others else ""
    caption = (
        f"Exact answers, percent.{averaged} –: no finished run. Where rows rise and fall alike, the settings add up."
    )
    alt = "; ".join(pairs).replace("nan", "no run")
    return Picture.of(drawn, "interaction", f"{first} by {second}", alt=alt, caption=caption)


def learning(key: str, title: str, found: Mapping[str, Band]) -> Picture:
    """A figure over the steps, mean and range over seeds, for the best points; the others faint."""
    drawn = figure(WIDTH, 3.1 + 0.22 * min(len(found), len(STYLES)))
    axes = drawn.subplots()
    quiet(axes, "")
    share = "accuracy" in key
    for rank, (label, (steps, low, high)) in enumerate(found.items()):
        if rank < len(STYLES):
            _band(axes, steps, low, high, rank, _short(label))
        else:
            axes.plot(steps, (low + high) / 2, color=FAINT, linewidth=0.8, alpha=0.6)
    axes.yaxis.set_major_formatter(_percent if share else lambda value, _: f"{value:g}")
    if share:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.01), min(high, 1.01))
    axes.set_xlabel("step", fontsize=9, color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(found) > 1:
        drawn.legend(loc="outside lower left", fontsize=8.5, frameon=False, labelcolor=INK)
    last = [f"{label}: {_middle(low, high):.3g} at step {x[-1]:g}" for label, (x, low, high) in found.items()]
    return Picture.of(drawn, key.replace(".", "-"), title, alt="; ".join(last), caption=_read(key, found))


def _read(key: str, found: Mapping[str, Band]) -> str:
    """How to read a picture of curves: only of what it has."""
    told = ["A running mean." if key == "loss_lm" else "As validated during training."]
    if any((low < high).any() for _, low, high in found.values()):
        told.append("Bands span the lowest and the highest seed, and lines lie in their middle.")
    if len(found) > 1:
        told.append("The best points first.")
    if len(found) > len(STYLES):
        told.append(f"The other {len(found) - len(STYLES)} points are faint.")
    return " ".join(told)


def quality_chart(results: Results) -> Picture:
    """Accuracy against the time of a step; points carry their rank."""
    arms = [(rank, arm) for rank, arm in enumerate(results.arms, 1) if arm.mean is not None and arm.ms_per_step]
    drawn = figure(WIDTH, 3.4)
    axes = drawn.subplots()
    quiet(axes, "")
    for rank, arm in arms:
        own = results.is_reference(arm)
        x, y = arm.ms_per_step, 100 * (arm.mean or 0)
        axes.plot(x, y, "D" if own else "o", color=ORANGE if own else BLUE, markersize=7)
        axes.annotate(str(rank), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=9, color=INK)
    axes.margins(0.12)
    axes.set_xlabel("milliseconds per step", fontsize=9, color=INK)
    axes.set_ylabel("exact answers, %", fontsize=9, color=INK)
    alt = "; ".join(
        f"{rank}: {arm.label}, {100 * (arm.mean or 0):.1f} % at {arm.ms_per_step:.0f} ms" for rank, arm in arms
    )
    caption = "Numbers are ranks in the table; the diamond is the reference. Runs that shared the machine are slower."
    return Picture.of(drawn, "quality", "Quality against time", alt=alt, caption=caption)


def bands(runs: Sequence[Lines], key: str) -> Band:
    """Steps, lowest and highest value over some runs, at the steps that all of them have."""
    tables = [dict(_points(lines, key)) for lines in runs]
    steps = sorted(set.intersection(*map(set, tables))) if tables else []
    if not steps:
        return np.empty(0), np.empty(0), np.empty(0)
    values = np.array([[table[step] for step in steps] for table in tables])
    smooth = np.stack([_smooth(row) for row in values]) if key == "loss_lm" else values
    return np.array(steps, float), smooth.min(0), smooth.max(0)


def _points(lines: Lines, key: str) -> Iterator[tuple[int, float]]:
    inner = key.removeprefix("validation.")
    for line in lines:
        source = line if inner == key else without_chance(line.get("validation", {}))
        if isinstance(value := source.get(inner), float | int):
            yield line["step"], float(value)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the steps, shrinking at both ends."""
    half = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.clip(np.arange(len(values)) - half, 0, None)
    high = np.clip(np.arange(len(values)) + half + 1, None, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _spread(arm: Arm) -> bool:
    """Whether the point has an interval: it is compared, and not all answers are equal."""
    return arm.comparison is not None and not arm.comparison.equal


def _interval(axes: Any, row: int, arm: Arm) -> None:
    found, colour = arm.comparison, BLUE
    assert found is not None
    axes.plot([100 * found.low, 100 * found.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(100 * found.difference, row, "o", color=colour, markersize=8, zorder=3)
    if not arm.sure:
        axes.plot(100 * found.difference, row, "o", color="#ffffff", markersize=4.5, zorder=4)
    place = axes.get_yaxis_transform()
    axes.text(0, row - 0.3, _short(arm.label), transform=place, fontsize=9, color=INK, parse_math=False)


def _band(axes: Any, steps: np.ndarray, low: np.ndarray, high: np.ndarray, rank: int, label: str) -> None:
    colour, line, marker = STYLES[rank]
    few = len(steps) < 15
    axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    marks = (
        {"marker": marker, "markersize": 4, "clip_on": False}
        if few
        else {"marker": marker, "markersize": 4, "markevery": 0.12}
    )
    axes.plot(steps, (low + high) / 2, color=colour, linestyle=line, linewidth=1.8, label=label, **marks)


def _name(axes: Any, rows: Sequence[str], columns: Sequence[str], first: str, second: str) -> None:
    fold: Callable[[str], str] = lambda text: textwrap.fill(text, 18, max_lines=2, placeholder="…")  # noqa: E731
    axes.set_yticks(np.arange(len(rows)) + 0.5, [fold(row) for row in rows], fontsize=9, parse_math=False)
    turned = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if len(columns) > 3 else {}
    axes.set_xticks(np.arange(len(columns)) + 0.5, [fold(c) for c in columns], fontsize=9, parse_math=False, **turned)
    axes.invert_yaxis()
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(first, fontsize=9, color=FAINT)
    axes.set_xlabel(second, fontsize=9, color=FAINT)


def _mean(results: Results, part: Mapping[str, str]) -> float:
    """Mean over the points that hold `part`, in percent; not a number without any."""
    found = [arm.mean for arm in results.arms if arm.mean is not None and part.items() <= arm.point.items()]
    return 100 * float(np.mean(found)) if found else float("nan")


def _percent(value: float, _: object = None) -> str:
    """A tick of an axis of shares; beyond 0 and 100 % there is none."""
    return f"{round(100 * value, 1):g} %" if -1e-9 <= value <= 1 + 1e-9 else ""


def _middle(low: np.ndarray, high: np.ndarray) -> float:
    return float(low[-1] + high[-1]) / 2


def _short(label: str) -> str:
    return textwrap.shorten(label, 62, placeholder="…")


def _told(arm: Arm) -> str:
    found = arm.comparison
    assert found is not None
    interval = f"{signed(found.low)} to {signed(found.high)}"
    return f"{arm.label}: {signed(found.difference)} points ({interval}), {arm.verdict}"
