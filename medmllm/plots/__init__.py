"""Pictures of a run: learning curves, matchings before and after, and example answers.

Matplotlib is imported when a picture is drawn, never before, and used without its global state.
"""

from medmllm.plots.curves import plot_curves
from medmllm.plots.examples import example_images
from medmllm.plots.matching import matching_heatmap

__all__ = ["example_images", "matching_heatmap", "plot_curves"]
