"""Volumes: voxels with a place in the body, cut in any plane."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medmllm.data.scans.address import PLANES, Address
from medmllm.data.scans.slices import AGAIN, Slice, check_size, chosen, middle, package
from medmllm.data.scans.window import View
from medmllm.errors import DataError

_RAS_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
_CHUNK = 2**20
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def cut_plane(image: Any, found: Address, views: tuple[View, ...] = (), choices: tuple[str, ...] = ()) -> Slice:
    """One slice as radiologists look at it: the person's right, or in sagittal cuts the front, at the left.

    Args:
        image: nibabel's image of three axes, or of four: the last is time.
        found: plane, number and time; of a series in time the first volume where none is named.
    """
    axis, time = _voxel_axis(image, found.plane), found.time or 0
    times = image.shape[3] if len(image.shape) > 3 else 1
    if time >= times:
        raise DataError(f"has {times} volumes in time, and number {time} is requested", hint="numbers go from 0")
    index = chosen(found, image.shape[axis])
    cuts: list[Any] = [slice(None)] * 3
    # along an axis that runs down, left or back in the file, the last voxel is the first slice
    cuts[axis] = slice(index, index + 1) if _runs_up(image, axis) else _from_end(image.shape[axis], index)
    rest = [slice(time, time + 1), *[slice(None)] * (len(image.shape) - 4)] if len(image.shape) > 3 else []
    turned = package("nibabel").as_closest_canonical(image.slicer[(*cuts, *rest)])
    values = _values(turned)
    plane: NDArray[np.float32] = np.take(values, 0, axis=_RAS_AXIS[found.plane]).swapaxes(0, 1)[::-1, ::-1]
    facts = {
        "modality": "",
        "pixels": "RGB" if plane.ndim == 3 else "grey",
        "bits": 8 * image.get_data_dtype().itemsize,
        "slice": f"{found.plane} {index}, time {time}",
    }
    choices += middle(found, image.shape[axis])
    choices += ("no time is named: the first volume is shown",) if times > 1 and found.time is None else ()
    spacing = _spacing(image, found.plane)
    return Slice(np.ascontiguousarray(plane), views, spacing=spacing, facts=facts, choices=choices)


def count_in_plane(image: Any, found: Address) -> int:
    return int(image.shape[_voxel_axis(image, found.plane)])


def check_volume(image: Any) -> int:
    """Make sure that a volume can be cut, before any voxel is read; return the bytes of its voxels."""
    shape, kind = image.shape, image.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or any(side > 1 for side in shape[4:]):
        raise DataError(f"its shape is {shape}, and a volume has three axes", hint="store it as a 3D volume")
    size = math.prod(map(float, shape)) * kind.itemsize
    check_size(max(shape[0] * shape[1], shape[0] * shape[2], shape[1] * shape[2]), size)
    if kind.kind not in "iuf" and kind.names not in (("R", "G", "B"), ("R", "G", "B", "A")):
        raise DataError(f"its voxels are {kind}, not grey values or colours", hint="store numbers")
    if not np.isfinite(image.affine).all():
        raise DataError("its header places voxels nowhere: the affine is not finite", hint="write the file again")
    if np.isnan(package("nibabel").io_orientation(image.affine)).any():
        raise DataError("its header gives an axis no direction", hint="write the file again with a sound affine")
    return int(size)


def check_voxels(found: int, due: int) -> None:
    """Make sure that a file holds as many bytes of voxels as its header says: others would be shown in wrong places."""
    if found < due:
        raise DataError(
            f"it is truncated: {due:,} bytes of voxels are expected, and {max(found, 0):,} are there", hint=AGAIN
        )
    if found > due:
        raise DataError("it is damaged: it holds more bytes of voxels than its header says", hint=AGAIN)


def inflate(stream: BinaryIO, most: int, *, wrapper: int = 31) -> bytes:
    """Unpack a gzip (31) or zlib (15) stream whole, with its check sum.

    Args:
        most: bytes that are expected at most; a stream that unpacks to more is refused.

    Raises:
        DataError: the stream is damaged, ends early, or holds more.
    """
    parts: list[bytes] = []
    size, packer = 0, zlib.decompressobj(wrapper)
    while packed := stream.read(_CHUNK):
        while packed:
            try:
                part = packer.decompress(packed, _CHUNK)
            except zlib.error as cause:
                raise DataError(f"its compressed data is damaged ({cause})", hint=AGAIN) from cause
            parts.append(part)
            size += len(part)
            if size > most:
                raise DataError(f"it unpacks to more than the {most:,} bytes that its header claims", hint=AGAIN)
            packed = packer.unconsumed_tail
            if packer.eof and packer.unused_data.strip(b"\0"):  # gzip files may follow each other
                packed, packer = packer.unused_data, zlib.decompressobj(wrapper)
    if not packer.eof:
        raise DataError("its compressed data ends early: it is truncated", hint=AGAIN)
    return b"".join(parts)


def image_of(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """Voxels with their places as nibabel's image.

    Args:
        voxels: (x, y, z) or (x, y, z, time), or with colours (x, y, z, 3) as `uint8` of the type `RGB`.
        affine: (4, 4), from voxels to millimetres to the right, to the front and up.
    """
    if voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8:
        voxels = voxels.astype(np.float64)
    return package("nibabel").Nifti1Image(voxels.astype(voxels.dtype.newbyteorder("=")), affine)


def beside(header: Path, name: str) -> Path:
    """The file of voxels that a header names, which may only be beside it."""
    found = header.parent / name
    if "/" in name or "\\" in name or not name or found.resolve().parent != header.resolve().parent:
        raise DataError(f"its voxels are in {name!r}, and not beside it", hint="put the two files into one folder")
    if not found.is_file():
        raise DataError(f"the file of its voxels, {name}, does not exist", hint="copy both files")
    return found


def _values(image: Any) -> NDArray[np.float32]:
    voxels = np.asanyarray(image.dataobj)
    if voxels.dtype.names:
        return np.stack([voxels[name] for name in "RGB"], axis=-1).astype(np.float32).reshape(*image.shape[:3], 3)
    return voxels.astype(np.float32).reshape(image.shape[:3])


def _voxel_axis(image: Any, plane: str) -> int:
    """Which axis of the file runs across the plane's slices."""
    if plane not in PLANES:
        raise DataError(f"a volume has no {plane}", hint=f"name a slice by {', '.join(PLANES)}")
    orientation = package("nibabel").io_orientation(image.affine)
    return int(np.flatnonzero(orientation[:, 0] == _RAS_AXIS[plane])[0])


def _runs_up(image: Any, axis: int) -> bool:
    return bool(package("nibabel").io_orientation(image.affine)[axis, 1] > 0)


def _from_end(count: int, index: int) -> slice:
    return slice(count - 1 - index, count - index)


def _spacing(image: Any, plane: str) -> tuple[float, float]:
    """Millimetres between the rows and between the columns of a plane's slices."""
    orientation = package("nibabel").io_orientation(image.affine)[:, 0]
    sizes = package("nibabel").affines.voxel_sizes(image.affine)
    by_axis = {int(axis): float(size) for axis, size in zip(orientation, sizes, strict=True)}
    down, across = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane]
    return by_axis[down], by_axis[across]
