"""Slices of MetaImage volumes, `.mha` and `.mhd`: a header of `key = value` lines, and the voxels.

SimpleITK reads them too, but it returns wrong voxels for a damaged compressed file (2.5.7), and takes 264 MB.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medmllm.data.scans.address import Address
from medmllm.data.scans.slices import AGAIN, Slice, check_size
from medmllm.data.scans.volume import (
    RGB,
    beside,
    check_volume,
    check_voxels,
    count_in_plane,
    cut_plane,
    image_of,
    inflate,
)
from medmllm.errors import DataError

_HEADER = 2**16  # bytes that a header takes at most
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LINE = re.compile(rb"\s*(\w+)\s*=[ \t]*([^\r\n]*)\r?\n")
_WRITE_AGAIN = "write it again, with SimpleITK for one"
_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class _Header:
    fields: dict[str, str]
    end: int  # where the voxels of a file with its own begin

    def numbers(self, *names: str, default: list[float]) -> list[float]:
        """Numbers under the first of several names."""
        for name in names:
            if name in self.fields:
                try:
                    return [float(word) for word in self.fields[name].split()]
                except ValueError as cause:
                    raise DataError(f"its header has no usable {name}", hint=_WRITE_AGAIN) from cause
        return default

    def says(self, *names: str) -> bool:
        return any(self.fields.get(name, "").lower() in ("true", "1") for name in names)

    @property
    def sides(self) -> list[int]:
        sides = [int(side) for side in self.numbers("DimSize", default=[]) if math.isfinite(side)]
        if len(sides) != int(self.fields.get("NDims", "0") or 0) or not 2 <= len(sides) <= 4 or min(sides) < 1:
            raise DataError("its header has no usable DimSize", hint=_WRITE_AGAIN)
        return sides

    @property
    def channels(self) -> int:
        return int(self.numbers("ElementNumberOfChannels", default=[1.0])[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = _TYPES.get(self.fields.get("ElementType", "").removesuffix("_ARRAY"))
        if kind is None or not (self.channels == 1 or (self.channels == 3 and kind == "u1")):
            what = f"{self.channels} x {self.fields.get('ElementType', 'of no type')}"
            raise DataError(f"its voxels are {what}, not grey values or colours", hint="store one number a voxel")
        big = self.says("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
        return RGB if self.channels == 3 else np.dtype((">" if big else "<") + kind)


def read_metaimage(data: bytes | Path, found: Address) -> Slice:
    """One slice as radiologists look at it."""
    header = _header(data)
    affine = _affine(header)
    size = math.prod(header.sides) * header.dtype.itemsize
    voxels = np.frombuffer(_voxels(data, header, size), header.dtype, math.prod(header.sides))
    image = image_of(_whole(voxels.reshape(header.sides, order="F")), affine)
    check_volume(image)
    return cut_plane(image, found)


def count_metaimage(data: bytes | Path, found: Address) -> int:
    """Slices of the volume in the address's plane."""
    header = _header(data)
    empty = np.broadcast_to(np.zeros((), np.uint8), header.sides)
    return count_in_plane(image_of(_whole(empty[..., :1] if len(header.sides) > 3 else empty), _affine(header)), found)


def _whole(voxels: Any) -> Any:
    return voxels[..., None] if voxels.ndim == 2 else voxels


def _header(data: bytes | Path) -> _Header:
    if isinstance(data, bytes):
        head = data[:_HEADER]
    else:
        with data.open("rb") as stream:
            head = stream.read(_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while (line := _LINE.match(head, place)) is not None:
        fields[line[1].decode("ascii", "replace")] = line[2].decode("utf-8", "replace").strip()
        place = line.end()
        if line[1] == b"ElementDataFile":
            header = _Header(fields, place)
            sides = [*header.sides, 1]
            plane = max(sides[0] * sides[1], sides[0] * sides[2], sides[1] * sides[2])
            check_size(plane, math.prod(map(float, sides)) * header.dtype.itemsize)
            return header
    raise DataError("its header ends without ElementDataFile", hint=AGAIN)


def _voxels(data: bytes | Path, header: _Header, size: int) -> bytes:
    """The voxels' bytes, all that are expected."""
    name = header.fields["ElementDataFile"]
    if header.says("BinaryData", "BinaryData") is False and "BinaryData" in header.fields:
        raise DataError("its voxels are written as text", hint=_WRITE_AGAIN)
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError("its voxels are in many files", hint="store it as one .mha")
    start = header.end
    if name.upper() != "LOCAL":
        if isinstance(data, bytes):
            raise DataError(f"its voxels are in another file, {name}", hint="store it as one .mha")
        data = beside(data, name)
        skipped = int(header.numbers("HeaderSize", default=[0.0])[0])
        start = data.stat().st_size - size if skipped == -1 else skipped
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as stream:
        stream.seek(max(start, 0))
        content = inflate(stream, size, wrapper=47) if header.says("CompressedData") else stream.read(size + 1)
    check_voxels(len(content), size)
    return content


def _affine(header: _Header) -> np.ndarray:
    """From voxels to millimetres to the right, to the front and up; MetaImage counts to the left and to the back."""
    count = len(header.sides)
    spacing = header.numbers("ElementSpacing", "ElementSize", default=[1.0] * count)
    turns = header.numbers("TransformMatrix", "Rotation", "Orientation", default=np.eye(count).ravel().tolist())
    origin = header.numbers("Offset", "Position", "Origin", default=[0.0] * count)
    if len(spacing) != count or len(turns) != count**2 or len(origin) != count:
        raise DataError("its header has no usable TransformMatrix, ElementSpacing or Offset", hint=_WRITE_AGAIN)
    axes = min(count, 3)
    affine = np.eye(4)
    affine[:axes, :axes] = (np.array(turns).reshape(count, count)[:axes, :axes] * np.array(spacing)[:axes, None]).T
    affine[:axes, 3] = origin[:axes]
    affine[:3] = _LPS @ affine[:3]
    return affine
