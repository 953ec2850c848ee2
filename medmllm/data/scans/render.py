"""One slice of a scan as an 8-bit picture."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmllm.data.scans.address import Address
from medmllm.data.scans.window import Limits, shade, window_limits
from medmllm.errors import DataError, MissingExtraError

MOST_PIXELS = 2**26  # of one slice
MOST_BYTES = 2**31  # of one volume; a CT of 2,000 slices of 512 x 512 has half as many


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice before it is windowed.

    Attributes:
        values: (rows, columns) in the scan's own units (Hounsfield units for CT), or (rows, columns, 3), colours.
        limits: window that the file itself asks for.
        inverted: whether the least value is white (MONOCHROME1).
    """

    values: NDArray[np.float32]
    limits: Limits | None = None
    inverted: bool = False


def render(data: bytes | Path, found: Address, window: str = "auto") -> Image.Image:
    """8-bit RGB of one slice.

    With "auto" the window that the file asks for is used, and without one the whole range of the slice.

    Raises:
        DataError: the file is damaged, too large, or has no such slice.
        MissingExtraError: pydicom or nibabel is not installed.
    """
    if found.is_nifti:
        from medmllm.data.scans.nifti import read_slice
    else:
        from medmllm.data.scans.dicom import read_slice
    cut = read_slice(data, found)
    if cut.values.ndim == 3:
        return Image.fromarray(cut.values.astype(np.uint8), "RGB")
    grey = shade(cut.values, window_limits(window) or cut.limits)
    return Image.fromarray(255 - grey if cut.inverted else grey).convert("RGB")


def depth(path: Path, found: Address) -> int:
    """Number of slices that a scan has in the address's plane; its pixels are not read."""
    if found.is_nifti:
        from medmllm.data.scans.nifti import count_slices
    else:
        from medmllm.data.scans.dicom import count_slices
    return count_slices(path, found)


def chosen(found: Address, count: int) -> int:
    """The slice's number; the middle one if none is named."""
    if found.index is not None and found.index >= count:
        message = f"has {count} {found.plane} slices, and number {found.index} is asked for"
        raise DataError(message, hint=f"numbers go from 0 to {count - 1}")
    return count // 2 if found.index is None else found.index


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


def reader(name: str) -> ModuleType:
    """Import pydicom or nibabel."""
    try:
        return import_module(name)
    except ImportError as cause:
        from graphalign.extras import pip_line  # brings torch

        raise MissingExtraError(f"{name} is not installed", hint=pip_line("medical")) from cause
