r"""Display windows: which values become black and which white.

A window of centre $c$ and width $w$ maps $x$ to $255 \cdot \mathrm{clip}((x - c + w/2) / w, 0, 1)$.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from medmllm.errors import DataError

# Centre and width in Hounsfield units, as on the viewers of radiologists.
WINDOWS = {"lung": (-600.0, 1500.0), "bone": (500.0, 2000.0), "soft_tissue": (40.0, 400.0), "brain": (40.0, 80.0)}
AUTO = "auto"
_NUMBERS = re.compile(r"(?P<centre>[-+]?\d+(?:\.\d+)?)/(?P<width>\d+(?:\.\d+)?)")
Limits = tuple[float, float]


def window_limits(window: str) -> Limits | None:
    """The values shown black and white; None for "auto".

    Args:
        window: "auto", a name of `WINDOWS`, or "CENTRE/WIDTH" such as "40/400".

    Raises:
        ValueError: another word, or a width of zero.
    """
    if window == AUTO:
        return None
    numbers = _NUMBERS.fullmatch(window)
    centre, width = (float(numbers["centre"]), float(numbers["width"])) if numbers else WINDOWS.get(window, (0.0, 0.0))
    if width <= 0:
        known = ", ".join((AUTO, *WINDOWS))
        raise ValueError(f"is no window: one of {known}, or CENTRE/WIDTH such as 40/400 (got {window!r})")
    return centre - width / 2, centre + width / 2


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
