"""Slices of DICOM: one file, a file of many frames, or a folder that holds a series."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmllm.data.scans.address import Address
from medmllm.data.scans.render import Slice, check_size, chosen, reader
from medmllm.data.scans.window import Limits
from medmllm.errors import DataError

_DEFLATED = "1.2.840.10008.1.2.1.99"
_LARGE = 2**16  # bytes from which a header's element is left in the file
_MOST_FILES = 10_000  # of a series
_COLOURS = ("RGB", "YBR", "PALETTE")


def read_slice(data: bytes | Path, found: Address) -> Slice:
    """One slice in the scan's own units: rescaled by the file's slope and intercept, sixteen bits kept."""
    if found.plane != "axial":
        hint = "convert the series to NIfTI, which can be cut in any plane"
        raise DataError(f"DICOM is read slice by slice as it was taken, not in {found.plane} cuts", hint=hint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd value; what matters is checked here
        if isinstance(data, Path) and data.is_dir():
            series = _series(data)
            path = series[chosen(found, len(series))]
            return _frame(path, _header(path), 0)
        header = _header(data)
        return _frame(data, header, chosen(found, _frames(header)))


def count_slices(path: Path, found: Address) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(_series(path)) if path.is_dir() else _frames(_header(path))


def _stream(data: bytes | Path) -> Any:
    return io.BytesIO(data) if isinstance(data, bytes) else data


def _header(data: bytes | Path) -> Any:
    """The header with sizes that can be; pixels and long elements stay in the file."""
    pydicom = reader("pydicom")
    meta = pydicom.filereader.read_file_meta_info(data) if isinstance(data, Path) else None
    if meta is not None and meta.get("TransferSyntaxUID") == _DEFLATED:
        raise DataError("it is stored deflated, which could unpack to any size", hint="store it explicit and plain")
    header = pydicom.dcmread(_stream(data), stop_before_pixels=True, defer_size=_LARGE)
    if header.file_meta.get("TransferSyntaxUID") == _DEFLATED:
        raise DataError("it is stored deflated, which could unpack to any size", hint="store it explicit and plain")
    rows, columns = _number(header, "Rows"), _number(header, "Columns")
    samples = _number(header, "SamplesPerPixel", 1.0) * _number(header, "BitsAllocated", 16.0) / 8
    check_size(rows * columns, rows * columns * samples * _frames(header))
    return header


def _frames(header: Any) -> int:
    frames = _number(header, "NumberOfFrames", 1.0)
    return int(frames) if 1 <= frames < 2**31 else 1


def _number(header: Any, name: str, default: float | None = None) -> float:
    """One number of the header; an empty or missing one is the default."""
    value = header.get(name)
    value = value[0] if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else value
    value = default if value in (None, "") else value
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"its header has no usable {name}", hint="export it again from where it came")
    return number


def _frame(data: bytes | Path, header: Any, index: int) -> Slice:
    pydicom = reader("pydicom")
    try:
        pixels = pydicom.pixels.pixel_array(_stream(data), index=index)
    except (RuntimeError, NotImplementedError) as cause:
        first = str(cause).splitlines()[0]
        hint = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or store it uncompressed"
        raise DataError(f"its pixels cannot be unpacked ({first})", hint=hint) from cause
    interpretation = str(header.get("PhotometricInterpretation", ""))
    if interpretation.startswith(_COLOURS):
        return Slice(_colours(header, pixels))
    values = pixels.astype(np.float32)
    values = values * _number(header, "RescaleSlope", 1.0) + _number(header, "RescaleIntercept", 0.0)
    return Slice(values.astype(np.float32), _own_window(header), interpretation == "MONOCHROME1")


def _colours(header: Any, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Colours from 0 to 255; pydicom has made RGB of YBR already."""
    if pixels.ndim == 2:  # a palette
        pixels = reader("pydicom").pixels.apply_color_lut(pixels, header)[..., :3]
    most = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "iu" else 255.0
    return (pixels.astype(np.float32) * (255.0 / most)).round()


def _own_window(header: Any) -> Limits | None:
    """The first window that the file asks for."""
    if header.get("WindowCenter") in (None, "") or header.get("WindowWidth") in (None, ""):
        return None
    centre, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    return (centre - width / 2, centre + width / 2) if width > 0 else None


def _series(folder: Path) -> list[Path]:
    """Files of a series from the feet up, by the position along their common normal, else by number and name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not 1 <= len(files) <= _MOST_FILES:
        raise DataError(f"the folder has {len(files)} files, and a series has 1 to {_MOST_FILES:,}")
    root = folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise DataError(f"{path.name} leads out of the series' folder", hint="copy the file there")
    headers = [(_header(path), path) for path in files]
    names = {str(header.get("SeriesInstanceUID", "")) for header, _ in headers}
    if len(names) > 1:
        raise DataError(f"the folder holds {len(names)} series", hint="keep each series in a folder of its own")
    return [path for _, path in sorted(headers, key=lambda item: (_position(item[0]), item[1].name))]


def _position(header: Any) -> tuple[float, float]:
    """Millimetres along the slice's normal, and the number in the series."""
    place, turn = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    number = _number(header, "InstanceNumber", 0.0)
    if place in (None, "") or turn in (None, "") or len(place) != 3 or len(turn) != 6:
        return 0.0, number
    normal = np.cross([float(x) for x in turn[:3]], [float(x) for x in turn[3:]])
    return float(np.dot(normal, [float(x) for x in place])), number
