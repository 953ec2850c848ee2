"""The look that all pictures share: a canvas, a palette safe for colour-blind readers, and quiet axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphalign.extras import pip_line
from medmllm.errors import MissingExtraError
from medmllm.run.aside import written_aside

# Okabe and Ito, "Color universal design" (2008): told apart with any of the common colour deficiencies.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, FAINT, GRID = "#24292f", "#6e7781", "#e4e7ea"
_DPI = 150


def figure(width: float, height: float) -> Any:
    """A matplotlib `Figure` of a size in inches, with the Agg canvas and no window.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as cause:
        raise MissingExtraError("pictures need matplotlib", hint=pip_line("viz")) from cause
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.08)
    made = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(made)
    return made


def save(drawn: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as part:
        drawn.savefig(part, format="png", metadata={"Software": None})
    return path


def quiet(axes: Any, title: str) -> None:
    """Title at the left, a light grid, no frame above and at the right."""
    axes.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=FAINT, labelsize=8.5)
