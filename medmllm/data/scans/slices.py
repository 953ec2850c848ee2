"""One slice of a scan before it is shown, and what every reader of scans needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphalign.counts import count_of
from graphalign.extras import pip_line
from medmllm.data.scans.address import Address
from medmllm.data.scans.window import View
from medmllm.errors import DataError, MissingExtraError

AGAIN = "copy or download it again"
MOST_PIXELS = 2**26  # of one slice
MOST_BYTES = 2**31  # of one volume; a CT of 2,000 slices of 512 x 512 has half as many


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice before it is windowed.

    Attributes:
        values: (rows, columns) in the scan's own units (Hounsfield units for CT), or (rows, columns, 3), colours.
        views: how the file itself asks to be shown; the first is its default.
        inverted: whether the least value is white (MONOCHROME1).
        spacing: distance between rows and between columns; only their ratio matters. None: not known, square.
        padding: (rows, columns), pixels outside the image, which count in no range; None: none.
        facts: what the header says of it, for reports: `modality`, `pixels`, `bits`, and which `slice` it is.
        choices: what was chosen where neither the row nor the file says it, in words.
    """

    values: NDArray[np.float32]
    views: tuple[View, ...] = ()
    inverted: bool = False
    spacing: tuple[float, float] | None = None
    padding: NDArray[np.bool_] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


def chosen(found: Address, count: int) -> int:
    """The slice's number; the middle one if none is named."""
    if found.index is not None and found.index >= count:
        message = f"has {count_of(count, f'{found.plane} slice')}, and number {found.index} is requested"
        raise DataError(message, hint=f"numbers go from 0 to {count - 1}")
    return count // 2 if found.index is None else found.index


def middle(found: Address, count: int) -> tuple[str, ...]:
    """The choice of the middle slice, where there are several and none is named."""
    return ("no slice is named: the middle one is shown",) if found.index is None and count > 1 else ()


def check_size(pixels: float, size: float) -> None:
    """Refuse what a damaged or hostile header claims, before any memory is taken.

    Args:
        pixels: of the largest slice.
        size: bytes of the whole volume.
    """
    if not (0 < pixels <= MOST_PIXELS and size <= MOST_BYTES):
        message = f"its header claims {pixels:,.0f} pixels a slice and {size:,.0f} bytes in all"
        hint = f"up to {MOST_PIXELS:,} and {MOST_BYTES:,} are read; check the file, or store it smaller"
        raise DataError(message, hint=hint)


def package(name: str) -> ModuleType:
    """Import pydicom, nibabel or pynrrd."""
    try:
        return import_module(name)
    except ImportError as cause:
        raise MissingExtraError(f"{name} is not installed", hint=pip_line("medical")) from cause
