"""The look of the site's pictures: each is drawn twice, for light pages and for dark ones, as SVG without fonts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parents[1] / "images"
# Okabe and Ito's colours, told apart with any common colour deficiency; lighter ones on dark pages.
BLUE, ORANGE, GREEN, RED = "C0", "C1", "C2", "C3"
COLOURS = {
    "light": ("#24292f", "#8c959f", ["#0072B2", "#B87F00", "#009E73", "#D55E00"]),
    "dark": ("#e2e4e9", "#7d8590", ["#56B4E9", "#E69F00", "#2DC79B", "#FF8A4C"]),
}
Draw = Callable[[Figure], None]


def draw(name: str, size: tuple[float, float], fill: Draw) -> None:
    """Writes `images/NAME-light.svg` and `images/NAME-dark.svg`; `fill` draws them, `size` is in inches."""
    for scheme, (ink, faint, cycle) in COLOURS.items():
        settings: dict[str, Any] = {
            "axes.edgecolor": faint,
            "axes.facecolor": "none",
            "axes.labelcolor": ink,
            "axes.prop_cycle": matplotlib.cycler(color=cycle),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": ink,
            "axes.titlesize": 10,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "legend.frameon": False,
            "legend.labelcolor": ink,
            "svg.fonttype": "path",
            "svg.hashsalt": name,
            "text.color": ink,
            "xtick.color": faint,
            "xtick.labelcolor": ink,
            "ytick.color": faint,
            "ytick.labelcolor": ink,
        }
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=size, facecolor="none")
            fill(figure)
            path = IMAGES / f"{name}-{scheme}.svg"
            figure.savefig(path, metadata={"Date": None, "Creator": None})
        path.write_text(smaller(path.read_text("utf-8")), "utf-8")


def smaller(svg: str) -> str:
    """The same drawing with corners of paths to a hundredth of a point, and without trailing blanks."""
    corners = re.compile(r'^(?:[MLQC] | *<path d="M ).*', re.MULTILINE)
    svg = corners.sub(lambda line: re.sub(r"(\d+\.\d\d)\d+", r"\1", line[0]), svg)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def bare(axes: Any) -> None:
    """No frame, no ticks, equal units."""
    axes.set_axis_off()
    axes.set_aspect("equal")
