"""Slices of NRRD volumes, `.nrrd` and `.nhdr`: pynrrd reads the header, the voxels are unpacked and checked here."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medmllm.data.scans.address import Address
from medmllm.data.scans.slices import Slice, check_size, package
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

_TYPES = {
    "i1": "signed char, int8, int8_t", "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t", "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t", "f4": "float", "f8": "double",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
}  # fmt: skip
_DTYPES = {name: kind for kind, names in _TYPES.items() for name in names.split(", ")}
_COLOURS = ("RGB-color", "vector", "list", "3-color")
_TOWARDS = {"right": (0, 1.0), "left": (0, -1.0), "anterior": (1, 1.0), "posterior": (1, -1.0),
            "superior": (2, 1.0), "inferior": (2, -1.0)}  # fmt: skip
_SHORT = {word[0]: word for word in _TOWARDS}
_WRITE_AGAIN = "write it again, with pynrrd or 3D Slicer for one"


def read_nrrd(data: bytes | Path, found: Address) -> Slice:
    """One slice as radiologists look at it."""
    header, start = _header(data)
    sides = _sides(header)
    dtype = _dtype(header)
    size = math.prod(sides) * dtype.itemsize
    voxels = np.frombuffer(_voxels(data, header, start, size), dtype, math.prod(sides)).reshape(sides, order="F")
    affine, choices = _affine(header)
    image = image_of(_colours_last(header, voxels), affine)
    check_volume(image)
    return cut_plane(image, found, choices=choices)


def count_nrrd(data: bytes | Path, found: Address) -> int:
    """Slices of the volume in the address's plane."""
    header, _ = _header(data)
    voxels = _colours_last(header, np.broadcast_to(np.zeros((), np.uint8), _sides(header)))
    return count_in_plane(image_of(voxels[..., :1] if voxels.ndim > 3 else voxels, _affine(header)[0]), found)


def _header(data: bytes | Path) -> tuple[dict[str, Any], int]:
    """The header with sizes that can be, and where the voxels of a file with its own begin."""
    with _stream(data) as stream:
        header: dict[str, Any] = dict(package("nrrd").read_header(stream))
        start = stream.tell()
    sides = [*_sides(header), 1, 1]
    plane = max(sides[0] * sides[1], sides[0] * sides[2], sides[1] * sides[2])
    check_size(plane, math.prod(map(float, sides)) * _dtype(header).itemsize)
    return header, start


def _stream(data: bytes | Path) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")


def _sides(header: dict[str, Any]) -> list[int]:
    sides = [int(side) for side in header.get("sizes", ())]
    if not 2 <= len(sides) <= 4 or min(sides) < 1:
        raise DataError(f"its sizes are {sides}, and a volume has three axes", hint="store it as a 3D volume")
    return sides


def _dtype(header: dict[str, Any]) -> np.dtype[Any]:
    kind = _DTYPES.get(str(header.get("type")))
    if kind is None:
        raise DataError(f"its voxels are {header.get('type')}, not grey values or colours", hint="store numbers")
    return np.dtype((">" if header.get("endian") == "big" else "<") + kind)


def _voxels(data: bytes | Path, header: dict[str, Any], start: int, size: int) -> bytes:
    """The voxels' bytes, all that are expected."""
    name = header.get("data file", header.get("datafile"))
    if name is not None:
        if isinstance(data, bytes) or not isinstance(name, str) or name.startswith("LIST") or "%" in name:
            raise DataError(f"its voxels are in other files, {name}", hint="store it as one .nrrd")
        data, start = beside(data, name), 0
    skips = [int(header.get(f"{what} skip", header.get(f"{what}skip", 0))) for what in ("line", "byte")]
    encoding = str(header.get("encoding")).lower()
    if encoding not in ("raw", "gzip", "gz") or skips[0] or (skips[1] and encoding != "raw"):
        raise DataError(f"its voxels are stored as {encoding}, or behind lines of text", hint=_WRITE_AGAIN)
    with _stream(data) as stream:
        end = stream.seek(0, io.SEEK_END)
        stream.seek(max(end - size, 0) if skips[1] == -1 else start + skips[1])
        content = stream.read(size + 1) if encoding == "raw" else inflate(stream, size)
    check_voxels(len(content), size)
    return content


def _colour_axis(header: dict[str, Any]) -> bool:
    """Whether the first axis holds the three colours of a voxel."""
    sides, kinds = _sides(header), list(header.get("kinds") or ())
    return len(sides) > 2 and sides[0] == 3 and bool(kinds) and kinds[0] in _COLOURS


def _colours_last(header: dict[str, Any], voxels: NDArray[Any]) -> NDArray[Any]:
    """Voxels of three axes, or four with time; three colours are one voxel."""
    if _colour_axis(header):
        if voxels.dtype != np.uint8:
            raise DataError(f"its colours are {voxels.dtype}", hint="store them as 8-bit numbers")
        voxels = np.ascontiguousarray(np.moveaxis(voxels, 0, -1)).view(RGB)[..., 0]
    elif voxels.ndim == 4 and "time" not in (header.get("kinds") or ["time"]):
        raise DataError("its fourth axis is not time", hint="store one volume a file")
    return voxels[..., None] if voxels.ndim == 2 else voxels


def _affine(header: dict[str, Any]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """From voxels to millimetres to the right, to the front and up, and what is assumed of them."""
    first = int(_colour_axis(header))
    axes = min(len(_sides(header)) - first, 3)
    turns, origin, affine = header.get("space directions"), header.get("space origin"), np.eye(4)
    choices: tuple[str, ...] = ()
    if turns is not None:
        affine[:axes, :axes] = np.array(turns, dtype=np.float64)[first : first + axes, :axes].T
    else:
        spacings = np.nan_to_num(np.array(header.get("spacings", np.ones(len(_sides(header)))), float), nan=1.0)
        affine[range(axes), range(axes)] = spacings[first : first + axes]
    if origin is not None:
        affine[:axes, 3] = np.array(origin, dtype=np.float64)[:axes]
    space = str(header.get("space") or "")
    words = [_SHORT.get(letter.lower(), "") for letter in space] if len(space) == 3 else space.lower().split("-")
    if not {*words} <= _TOWARDS.keys() or len(words) != 3:
        words = ["left", "posterior", "superior"]
        choices = ("its header says nothing of directions: they are taken as left, back, up",)
    turned = np.eye(4)
    for row, word in enumerate(words):
        axis, sign = _TOWARDS[word]
        turned[axis] = sign * affine[row]
    return turned, choices
