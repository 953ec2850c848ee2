"""From stored values to the scan's own units, and the windows that a DICOM file asks for (PS3.3, C.11.1 and C.11.2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmllm.data.scans.dicom_header import EXPORT, Header, numbers
from medmllm.data.scans.dicom_pixels import words_or_bytes
from medmllm.data.scans.window import Table, View, Window
from medmllm.errors import DataError

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_ANGIOGRAPHY = tuple(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in (1, 2, 3))  # XA, XRF, XA of two planes
Values = NDArray[np.float32]


def in_units(header: Header, stored: NDArray[Any]) -> Values:
    """Values after the modality's look-up table, or its slope and intercept: Hounsfield units for CT.

    X-ray angiography is displayed without: there they lead to values linear in the dose (PS3.3, C.8.7.1.1.2).
    """
    if header.text("SOPClassUID") in _ANGIOGRAPHY:
        return stored.astype(np.float32)
    tables = header.data.get("ModalityLUTSequence")
    if tables:
        first, entries, _ = _table(header, tables[0], signed=bool((stored < 0).any()))
        found = entries[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)]
        return found.astype(np.float32)
    slope, intercept = header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0)
    if slope == 0:
        raise DataError("its header has no usable RescaleSlope: it is 0", hint=EXPORT)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def padding(header: Header, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Pixels that only fill the rectangle (PS3.3, C.7.5.1.1.2); None where the file names no such value."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    low = _as_stored(header, header.number("PixelPaddingValue"))
    high = _as_stored(header, header.number("PixelPaddingRangeLimit", low))
    return (stored >= min(low, high)) & (stored <= max(low, high))


def _as_stored(header: Header, value: float) -> float:
    """A value of the header with the sign of the pixels: writers often give it the other's type."""
    bits = int(header.number("BitsAllocated"))
    signed = header.number("PixelRepresentation", 0.0) == 1
    if signed and value >= 2 ** (bits - 1):
        return value - 2**bits
    return value + 2**bits if not signed and value < 0 else value


def own_views(header: Header, values: Values) -> tuple[View, ...]:
    """How the file asks to be shown: by its look-up tables, then by its windows."""
    tables = [_voi(header, item, values) for item in header.get("VOILUTSequence") or ()]
    return (*tables, *_windows(header))


def _windows(header: Header) -> list[View]:
    """Windows with a width; one of width 0 shows nothing and is left out, as viewers do."""
    given = [header.get(name) for name in ("WindowCenter", "WindowWidth")]
    centres, widths = ([], []) if None in given else map(numbers, given)
    if not all(map(math.isfinite, (*centres, *widths))):
        raise DataError("its window is not a number", hint="give one with data.window=CENTRE/WIDTH")
    function = header.text("VOILUTFunction").strip().upper() or "LINEAR"
    if centres and function not in _FUNCTIONS:
        raise DataError(f"its window follows {function}, which is not known", hint=f"one of {', '.join(_FUNCTIONS)}")
    named = header.get("WindowCenterWidthExplanation")
    names = [named] if isinstance(named, str) else list(named or ())
    names += [""] * len(centres)
    found = zip(centres, widths, names, strict=False)
    return [Window(centre, width, function, str(name)) for centre, width, name in found if width > 0]


def _voi(header: Header, item: Any, values: Values) -> Table:
    first, entries, bits = _table(header, item, signed=bool((values < 0).any()))
    most = float(max(2**bits - 1, int(entries.max())))
    return Table(first, (entries / most).astype(np.float32), str(item.get("LUTExplanation") or ""))


def _table(header: Header, item: Any, *, signed: bool) -> tuple[int, NDArray[np.int64], int]:
    """The first value that a table maps, its entries, and their bits.

    Args:
        signed: whether values below 0 are looked up: then the first value is signed too, whatever its type says.
    """
    described = numbers(item.get("LUTDescriptor"))
    content = item.get("LUTData")
    if len(described) != 3 or not np.isfinite(described).all() or content is None:
        raise DataError("a look-up table of its header cannot be used", hint=EXPORT)
    count, first, bits = int(described[0]) % 2**16 or 2**16, int(described[1]), int(described[2])
    if signed and first >= 2**15:
        first -= 2**16
    order = "<u2" if header.little_endian else ">u2"
    if not isinstance(content, bytes):
        content = np.array(numbers(content)).astype(np.int64).astype(np.uint16).astype(order).tobytes()
    return first, words_or_bytes(header, content, count), bits if 8 <= bits <= 16 else 16
