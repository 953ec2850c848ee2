"""A sheet of example images, each with its question, the right answer and the model's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmllm.plots.style import GREEN, INK, RED, figure, save

if TYPE_CHECKING:
    from PIL.Image import Image

    from medmllm.evaluate.scores import Sample

_COLUMNS = 4
_CHARACTERS = 30  # of a text line under an image
_LINES = 3  # of a question, before it is cut
_ANSWER_LINES = 2  # of an answer


def example_images(samples: Sequence[Sample], images: Sequence[Image], path: Path) -> Path:
    """Draw samples four in a row; a right answer has a tick and a wrong one a cross, beside the colour.

    Args:
        samples: what was asked and answered; a dozen at most reads well.
        images: the samples' images, in the same order.
        path: PNG to write.

    Returns:
        The path.
    """
    columns = min(_COLUMNS, max(1, len(samples)))
    rows = max(1, -(-len(samples) // columns))
    drawn = figure(2.45 * columns, 3.65 * rows)
    cells = drawn.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.3, 1.35] * rows)
    for axes in cells.ravel():
        axes.set_axis_off()
    for index, (sample, image) in enumerate(zip(samples, images, strict=True)):
        row, column = divmod(index, columns)
        cells[2 * row, column].imshow(image, interpolation="bicubic")
        cells[2 * row, column].set_anchor("SW")  # flush with the text below
        _caption(cells[2 * row + 1, column], sample)
    return save(drawn, path)


def _caption(axes: Any, sample: Sample) -> None:
    """Question, reference and prediction, from the top of a cell downwards."""
    question = textwrap.wrap(sample.record.question, _CHARACTERS, max_lines=_LINES, placeholder=" …")
    mark, colour = ("✓", GREEN) if sample.correct else ("✗", RED)
    lines = [(line, INK, "bold") for line in question]
    lines += [(line, INK, "normal") for line in _answer(f"truth: {_printable(sample.record.answer)}")]
    lines += [(line, colour, "bold") for line in _answer(f"{mark} model: {_printable(sample.prediction)}")]
    for index, (text, ink, weight) in enumerate(lines):
        style = {"color": ink, "fontweight": weight, "fontsize": 8, "va": "top", "parse_math": False}
        axes.text(0, 1 - 0.14 * index, text, transform=axes.transAxes, **style)


def _answer(text: str) -> list[str]:
    return textwrap.wrap(text, _CHARACTERS, max_lines=_ANSWER_LINES, placeholder=" …")


def _printable(text: str) -> str:
    """A model early in its training says anything, characters that no font has included."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(nothing)"
