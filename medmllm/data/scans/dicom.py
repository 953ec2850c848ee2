"""Slices of DICOM: one file, a file of many frames, or a folder that holds a series."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

from medmllm.data.scans.address import Address
from medmllm.data.scans.dicom_header import Header, count_frames, numbers, read_header
from medmllm.data.scans.dicom_pixels import colours, is_coloured, stored_values
from medmllm.data.scans.dicom_values import in_units, own_views, padding
from medmllm.data.scans.series import one_slice, series
from medmllm.data.scans.slices import Slice, chosen, middle
from medmllm.errors import DataError


def read_dicom(data: bytes | Path, found: Address) -> Slice:
    """One slice in the scan's own units, sixteen bits kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd value; what matters is checked here
        if isinstance(data, Path) and data.is_dir():
            slices = series(data, found)
            _check_plane(found, slices[0].plane)
            one = slices[chosen(found, len(slices))]
            return _slice(one.path, one.header, middle(found, len(slices)))
        header = _file_header(data, found)
        frames = count_frames(header)
        return _slice(data, replace(header, frame=chosen(found, frames)), middle(found, frames))


def place_of_slice(folder: Path, found: Address) -> tuple[Path, int]:
    """The file and the frame of it that a slice of a folder is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slices = series(folder, found)
        one = slices[chosen(found, len(slices))]
        return one.path, one.header.frame


def count_dicom(data: bytes | Path, found: Address) -> int:
    """Slices of a series' folder, or frames of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(data, Path) and data.is_dir():
            return len(series(data, found))
        return count_frames(_file_header(data, found))


def _file_header(data: bytes | Path, found: Address) -> Header:
    if found.group is not None or found.time is not None:
        raise DataError("a DICOM file has no groups and no times", hint="name its frame, as in FILE#axial=0")
    header = read_header(data)
    _check_plane(found, one_slice(data if isinstance(data, Path) else Path(), header).plane)
    return header


def _check_plane(found: Address, own: str) -> None:
    """Slices are shown as they were taken: `axial` asks for that, and so does the name of their own plane."""
    if found.plane not in ("axial", own):
        hint = "convert the series to NIfTI, which can be cut in any plane"
        raise DataError(f"DICOM is read slice by slice as it was taken, not in {found.plane} cuts", hint=hint)


def _slice(data: bytes | Path, header: Header, choices: tuple[str, ...]) -> Slice:
    stored, interpretation = stored_values(data, header), header.text("PhotometricInterpretation")
    facts = {
        "modality": header.text("Modality"),
        "pixels": interpretation,
        "bits": int(header.number("BitsStored", header.number("BitsAllocated"))),
        "slice": f"frame {header.frame}",
    }
    spacing = _spacing(header)
    if is_coloured(header):
        return Slice(colours(header, stored), spacing=spacing, facts=facts, choices=choices)
    if stored.ndim != 2:
        raise DataError(f"its pixels are {interpretation} with {stored.shape[-1]} samples each", hint="store it as RGB")
    values = in_units(header, stored)
    inverted, shape = interpretation == "MONOCHROME1", header.text("PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE") and inverted != (shape == "INVERSE"):
        inverted = not inverted
        choices += (f"{interpretation} with PresentationLUTShape {shape}: the latter is followed",)
    return Slice(values, own_views(header, values), inverted, spacing, padding(header, stored), facts, choices)


def _spacing(header: Header) -> tuple[float, float] | None:
    """Distance between rows and between columns, by the first of four fields; None where nothing says it."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        several = numbers(header.get(name)) if header.get(name) is not None else []
        if len(several) == 2 and all(math.isfinite(one) and one > 0 for one in several):
            return several[0], several[1]
    return None
