"""One slice of a scan as an 8-bit picture with square pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmllm.data.scans.address import Address, Kind
from medmllm.data.scans.dicom import count_dicom, read_dicom
from medmllm.data.scans.metaimage import count_metaimage, read_metaimage
from medmllm.data.scans.nifti import count_nifti, read_nifti
from medmllm.data.scans.nrrd import count_nrrd, read_nrrd
from medmllm.data.scans.slices import MOST_PIXELS, Slice
from medmllm.data.scans.window import AUTO, PERCENTILE, blacked_out, own_view, shade, tails, window_limits
from medmllm.errors import DataError

Reader = Callable[[bytes | Path, Address], Slice]
Counter = Callable[[bytes | Path, Address], int]
_READERS: dict[str, tuple[Reader, Counter]] = {
    "dicom": (read_dicom, count_dicom),
    "nifti": (read_nifti, count_nifti),
    "nrrd": (read_nrrd, count_nrrd),
    "metaimage": (read_metaimage, count_metaimage),
}
# Where a few hot pixels are not a finding: MR, and volumes that do not say what they are. In PET they are the finding.
_HOT_BY_CHANCE = ("MR", "")
_SQUARE = 0.01  # pixels whose sides differ by less are square


@dataclass(frozen=True, slots=True)
class Shown:
    """A slice as it is shown.

    Attributes:
        picture: 8-bit RGB with square pixels.
        window: the window that was used, in words; "" for colours.
        origin: where the window is from: "asked for", "the file's own", "whole range", "percentile" or "colours".
        cut: the slice.
        choices: what was chosen where neither row, window nor file says it, in words.
    """

    picture: Image.Image
    window: str
    origin: str
    cut: Slice
    choices: tuple[str, ...] = ()


def show(data: bytes | Path, found: Address, window: str = "auto", kind: Kind = "") -> Shown:
    """The picture of one slice, and how it came about.

    With "auto" the window that the file asks for is used; without one the whole range of the slice, or the percentile
    window where a few hot pixels of an MR would leave the others nearly black.

    Args:
        kind: what the file is, where its ending does not say it.

    Raises:
        DataError: the file is damaged, too large, or has no such slice or window.
        MissingExtraError: pydicom, nibabel or pynrrd is not installed.
    """
    return shown(_functions(found, kind)[0](data, found), _own_window(found) or window)


def _own_window(found: Address) -> str:
    """The window that an image's name asks for; "" where it says nothing."""
    try:
        window_limits(found.window or AUTO)
    except ValueError as cause:
        raise DataError(f"the window that its name asks for {cause}", hint="as in #axial=40,window=lung") from cause
    return found.window


def shown(cut: Slice, window: str) -> Shown:
    """A slice as its picture, in a window."""
    if cut.values.ndim == 3:
        picture = _squared(Image.fromarray(cut.values.astype(np.uint8), "RGB"), cut.spacing)
        return Shown(picture, "", "colours", cut, cut.choices)
    grey, words, origin = _shaded(cut, window)
    picture = _squared(Image.fromarray(255 - grey if cut.inverted else grey), cut.spacing)
    return Shown(picture.convert("RGB"), words, origin, cut, (*cut.choices, *_chosen_window(cut, window, origin)))


def depth(data: bytes | Path, found: Address, kind: Kind = "") -> int:
    """Number of slices that a scan has in the address's plane; its pixels are not read."""
    return _functions(found, kind)[1](data, found)


def _functions(found: Address, kind: Kind) -> tuple[Reader, Counter]:
    return _READERS[kind or found.kind or "dicom"]


def _shaded(cut: Slice, window: str) -> tuple[NDArray[np.uint8], str, str]:
    """Grey values, the window in words, and where it is from."""
    limits, origin = window_limits(window), "asked for"
    view = own_view(window, cut.views)
    if view is not None:
        finite = np.isfinite(cut.values)
        shares = view(np.where(finite, cut.values, 0).astype(np.float32))
        grey: NDArray[np.uint8] = np.where(finite, np.rint(255 * shares), 0).astype(np.uint8)
        return grey, str(view), "the file's own"
    if limits is None:
        limits, origin = _own_range(cut, window)
    grey = shade(cut.values, limits)
    low, high = limits
    return grey, f"{(low + high) / 2:g}/{high - low:g}", origin


def _chosen_window(cut: Slice, window: str, origin: str) -> tuple[str, ...]:
    """What "auto" chose."""
    if window != AUTO:
        return ()
    if origin == "the file's own":
        return ("it has several windows of its own: the first is used",) if len(cut.views) > 1 else ()
    ends = "from its 0.5th to its 99.5th percentile" if origin == PERCENTILE else "in its whole range"
    return (f"it has no window of its own: it is shown {ends}",)


def _own_range(cut: Slice, window: str) -> tuple[tuple[float, float], str]:
    """The whole range of what is image, or its percentiles."""
    counts = np.isfinite(cut.values) if cut.padding is None else np.isfinite(cut.values) & ~cut.padding
    values = cut.values[counts]
    if not values.size:
        return (0.0, 1.0), "whole range"
    whole, inner = (float(values.min()), float(values.max())), tails(values)
    hot = cut.facts.get("modality", "") in _HOT_BY_CHANCE and blacked_out(whole, inner)
    if inner[0] < inner[1] and (window == PERCENTILE or hot):
        return inner, "percentile"
    return whole, "whole range"


def _squared(picture: Image.Image, spacing: tuple[float, float] | None) -> Image.Image:
    """The picture with square pixels: along the coarser direction it is interpolated."""
    if spacing is None:
        return picture
    (width, height), (down, across) = picture.size, spacing
    if abs(down / across - 1) < _SQUARE:
        return picture
    wide = (width, height * down / across) if down > across else (width * across / down, height)
    if wide[0] * wide[1] > MOST_PIXELS:
        hint = "check its spacing, or store it with square pixels"
        raise DataError(f"its pixels are {down:g} high and {across:g} wide, which gives too large a picture", hint=hint)
    size = (max(1, round(wide[0])), max(1, round(wide[1])))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)
