"""Slices of DICOM: one file, a file of many frames, or a folder that holds a series."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medmllm.data.scans.address import Address
from medmllm.data.scans.dicom_header import Header, count_frames, numbers, read_header
from medmllm.data.scans.dicom_pixels import colours, is_coloured, stored_values
from medmllm.data.scans.dicom_values import in_units, own_views, padding
from medmllm.data.scans.slices import Slice, chosen
from medmllm.errors import DataError

_MOST_FILES = 10_000  # of a series


def read_slice(data: bytes | Path, found: Address) -> Slice:
    """One slice in the scan's own units, sixteen bits kept."""
    if found.plane != "axial":
        hint = "convert the series to NIfTI, which can be cut in any plane"
        raise DataError(f"DICOM is read slice by slice as it was taken, not in {found.plane} cuts", hint=hint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd value; what matters is checked here
        if isinstance(data, Path) and data.is_dir():
            series = _series(data)
            path = series[chosen(found, len(series))]
            return _slice(path, read_header(path))
        header = read_header(data)
        return _slice(data, replace(header, frame=chosen(found, count_frames(header))))


def count_slices(data: bytes | Path, found: Address) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(_series(data)) if isinstance(data, Path) and data.is_dir() else count_frames(read_header(data))


def _slice(data: bytes | Path, header: Header) -> Slice:
    stored, interpretation = stored_values(data, header), header.text("PhotometricInterpretation")
    facts = {
        "modality": header.text("Modality"),
        "pixels": interpretation,
        "bits": int(header.number("BitsStored", header.number("BitsAllocated"))),
    }
    spacing = _spacing(header)
    if is_coloured(header):
        return Slice(colours(header, stored), spacing=spacing, facts=facts)
    if stored.ndim != 2:
        raise DataError(f"its pixels are {interpretation} with {stored.shape[-1]} samples each", hint="store it as RGB")
    values = in_units(header, stored)
    shape = header.text("PresentationLUTShape")  # where it is given, it says it instead of the interpretation
    inverted = shape == "INVERSE" if shape in ("IDENTITY", "INVERSE") else interpretation == "MONOCHROME1"
    return Slice(values, own_views(header, values), inverted, spacing, padding(header, stored), facts)


def _spacing(header: Header) -> tuple[float, float] | None:
    """Distance between rows and between columns, by the first of four fields; None where nothing says it."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        several = numbers(header.get(name)) if header.get(name) is not None else []
        if len(several) == 2 and all(math.isfinite(one) and one > 0 for one in several):
            return several[0], several[1]
    return None


def _series(folder: Path) -> list[Path]:
    """Files of a series from the feet up, by the position along their common normal, else by number and name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not 1 <= len(files) <= _MOST_FILES:
        raise DataError(f"the folder has {len(files)} files, and a series has 1 to {_MOST_FILES:,}")
    root = folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise DataError(f"{path.name} leads out of the series' folder", hint="copy the file there")
    headers = [(read_header(path), path) for path in files]
    names = {header.text("SeriesInstanceUID") for header, _ in headers}
    if len(names) > 1:
        raise DataError(f"the folder holds {len(names)} series", hint="keep each series in a folder of its own")
    return [path for _, path in sorted(headers, key=lambda item: (_position(item[0]), item[1].name))]


def _position(header: Any) -> tuple[float, float]:
    """Millimetres along the slice's normal, and the number in the series."""
    place, turn = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    number = header.number("InstanceNumber", 0.0)
    if place in (None, "") or turn in (None, "") or len(place) != 3 or len(turn) != 6:
        return 0.0, number
    normal = np.cross([float(x) for x in turn[:3]], [float(x) for x in turn[3:]])
    return float(np.dot(normal, [float(x) for x in place])), number
