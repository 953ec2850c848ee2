"""A figure of matplotlib as SVG inside a page: in the page's colours, told in words, with ids of its own."""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import Any

from medmllm.plots.style import BLUE, FAINT, GREEN, GRID, INK, ORANGE, RED

# The page's style sheet gives these two sets of values, one for light and one for dark.
COLOURS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    GRID: "var(--grid)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    RED: "var(--red)",
}
NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: its id; no two pictures of a page share one.
        title: above it.
        alt: what it shows, for those who do not see it.
        caption: how to read it.
        svg: the drawing.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str

    @classmethod
    def of(cls, drawn: Any, name: str, title: str, *, alt: str, caption: str) -> Picture:
        """The picture of a matplotlib figure."""
        return cls(name, title, alt, caption, inline(drawn, name, alt))


def inline(drawn: Any, name: str, alt: str) -> str:
    """An `<svg>` element for use in HTML; `alt` becomes its title."""
    text = re.sub(r"^.*?<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", "", _svg(drawn, name), flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"(<image [^>]*?) id=\"[^\"]*\"", r"\1", text)  # of equal images equal, and never referred to
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text).replace("xlink:href", "href")
    text = re.sub(r"(\bid=\"|=\"#|url\(#)", rf"\g<1>{name}-", text)
    for colour, variable in COLOURS.items():
        text = re.sub(colour, variable, text, flags=re.IGNORECASE)
    width, height = (72 * size for size in drawn.get_size_inches())
    start = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-alt">'
    return f'{start}<title id="{name}-alt">{html.escape(alt)}</title>{text}'


def _svg(drawn: Any, name: str) -> str:
    """The file that matplotlib writes; the same figure gives the same text."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "image.composite_image": False}):
        drawn.savefig(text, format="svg", metadata=NOTHING, transparent=True)
    return text.getvalue()
