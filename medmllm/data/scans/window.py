r"""Display windows: which values become black and which white.

A window of centre $c$ and width $w$ maps $x$ to $255 \cdot \mathrm{clip}((x - c + w/2) / w, 0, 1)$. A file's own
windows follow the function that the file names (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medmllm.errors import DataError

# Centre and width in Hounsfield units, as on the viewers of radiologists.
WINDOWS = {"lung": (-600.0, 1500.0), "bone": (500.0, 2000.0), "soft_tissue": (40.0, 400.0), "brain": (40.0, 80.0)}
AUTO, PERCENTILE = "auto", "percentile"
TAILS = (0.5, 99.5)  # per cent of the pixels: the ends of the percentile window
DARK = 0.25  # share of the whole range: where the upper tail begins below it, `auto` takes the percentile window
_NUMBERS = re.compile(r"(?P<centre>[-+]?\d+(?:\.\d+)?)/(?P<width>\d+(?:\.\d+)?)")
_OWN = re.compile(r"auto:(?P<name>.+)")  # one of several windows that a file has
Limits = tuple[float, float]
Greys = NDArray[np.floating[Any]]


class View(Protocol):
    """One way to show grey values, as the file itself asks for it."""

    @property
    def name(self) -> str:
        """The file's word for it; "" where it has none."""

    def __call__(self, values: Greys) -> Greys:
        """Map values to 0 (black) to 1 (white)."""

    def __str__(self) -> str:
        """The view in words, for reports."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window by centre and width.

    Attributes:
        function: "LINEAR" (from $c - 1/2 - (w-1)/2$ to $c - 1/2 + (w-1)/2$), "LINEAR_EXACT" or "SIGMOID".
    """

    centre: float
    width: float
    function: str = "LINEAR_EXACT"
    name: str = ""

    def __call__(self, values: Greys) -> Greys:
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-4 * (values.astype(np.float64) - self.centre) / self.width))
        if self.function == "LINEAR" and self.width >= 1:
            if self.width == 1:
                return (values > self.centre - 0.5).astype(np.float32)
            return np.clip((values - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0, 1)
        return np.clip((values - self.centre) / self.width + 0.5, 0, 1)

    def __str__(self) -> str:
        numbers = f"{self.centre:g}/{self.width:g}"
        linear = self.function in ("LINEAR", "LINEAR_EXACT")
        return " ".join(
            filter(None, (numbers, "" if linear else self.function.lower(), self.name and f"({self.name})"))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A look-up table: the entries for the values `first`, `first + 1`, ...; values beside it take the nearest end."""

    first: int
    entries: NDArray[np.float32]  # from 0 to 1
    name: str = ""

    def __call__(self, values: Greys) -> Greys:
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Greys = self.entries[places.astype(np.int64)]
        return found

    def __str__(self) -> str:
        return " ".join(filter(None, ("look-up table", self.name and f"({self.name})")))


def window_limits(window: str) -> Limits | None:
    """The values shown black and white; None where the file or its pixels decide: "auto", "auto:NAME", "percentile".

    Args:
        window: one of those, a name of `WINDOWS`, or "CENTRE/WIDTH" such as "40/400".

    Raises:
        ValueError: another word, or a width of zero.
    """
    if window in (AUTO, PERCENTILE) or _OWN.fullmatch(window):
        return None
    numbers = _NUMBERS.fullmatch(window)
    centre, width = (float(numbers["centre"]), float(numbers["width"])) if numbers else WINDOWS.get(window, (0.0, 0.0))
    if width <= 0:
        known = ", ".join((AUTO, PERCENTILE, *WINDOWS))
        raise ValueError(f"is not a window: one of {known}, auto:NAME, or CENTRE/WIDTH such as 40/400 (got {window!r})")
    return centre - width / 2, centre + width / 2


def meaning(window: str) -> str:
    """Meaning of a window whose name does not say it, for the lines on how scans are shown."""
    if window != AUTO:
        return ""
    return (
        " (as each file asks; where it asks for nothing, in the slice's whole range, or, of MR and volumes, from its "
        "0.5th to its 99.5th percentile where a few hot pixels would black out the others)"
    )


def own_view(window: str, views: Sequence[View]) -> View | None:
    """The view of the file that a window means: its first, or the one that "auto:NAME" names, by name or number from 1.

    Raises:
        DataError: the file has no view of that name.
    """
    wanted = _OWN.fullmatch(window)
    if wanted is None:
        return views[0] if views and window == AUTO else None
    word = wanted["name"]
    for number, view in enumerate(views, 1):
        if word.casefold() in (str(number), view.name.casefold()):
            return view
    known = "; ".join(f"{number}: {view}" for number, view in enumerate(views, 1))
    raise DataError(
        f"it has no window {word!r}", hint=f"its windows are {known}" if views else "it has none of its own"
    )


def tails(values: Greys) -> Limits:
    """The percentile window: from the 0.5th to the 99.5th percentile of the values."""
    low, high = np.percentile(values, TAILS)
    return float(low), float(high)


def blacked_out(whole: Limits, inner: Limits) -> bool:
    """Whether a few hot pixels would leave all others less than the darkest quarter of the greys."""
    return inner[0] < inner[1] < whole[0] + DARK * (whole[1] - whole[0])


def shade(values: NDArray[np.float32], limits: Limits | None) -> NDArray[np.uint8]:
    """Grey values 0 to 255; without limits, from the least to the greatest finite value, so that nothing is clipped."""
    finite = np.isfinite(values)
    if limits is None:
        limits = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 1.0)
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("its window is not a number", hint="give one with data.window=CENTRE/WIDTH")
    scaled = np.clip((np.where(finite, values, low) - low) / ((high - low) or 1.0), 0, 1)
    return np.rint(255 * scaled).astype(np.uint8)
