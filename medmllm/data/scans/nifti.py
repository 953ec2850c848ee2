"""Slices of NIfTI volumes, each read on its own."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmllm.data.scans.address import PLANES, Address
from medmllm.data.scans.slices import Slice, check_size, chosen, package
from medmllm.data.scans.window import Window
from medmllm.errors import DataError

_RAS_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


def read_slice(data: bytes | Path, found: Address) -> Slice:
    """One slice as radiologists look at it: the person's right, or in sagittal cuts the front, at the left.

    Of a series in time the first volume is read.
    """
    image = _open(data, found)
    axis = _voxel_axis(image, found.plane)
    index = chosen(found, image.shape[axis])
    cuts: list[Any] = [slice(None)] * 3
    # along an axis that runs down, left or back in the file, the last voxel is the first slice
    cuts[axis] = slice(index, index + 1) if _runs_up(image, axis) else _from_end(image.shape[axis], index)
    thin = image.slicer[tuple(cuts) if image.ndim == 3 else (*cuts, slice(0, 1))]
    turned = package("nibabel").as_closest_canonical(thin)
    values = np.asarray(turned.dataobj, dtype=np.float32).reshape(turned.shape[:3])
    plane: NDArray[np.float32] = np.take(values, 0, axis=_RAS_AXIS[found.plane]).T[::-1, ::-1]
    return Slice(np.ascontiguousarray(plane), _own_window(image), spacing=_spacing(image, found.plane))


def count_slices(data: bytes | Path, found: Address) -> int:
    image = _open(data, found)
    return int(image.shape[_voxel_axis(image, found.plane)])


def _open(data: bytes | Path, found: Address) -> Any:
    """The volume with a sound header; no voxel is read."""
    nibabel = package("nibabel")
    if isinstance(data, bytes):
        stream: Any = io.BytesIO(data)
        stream = gzip.GzipFile(fileobj=stream) if found.path.lower().endswith(".gz") else stream
        image = nibabel.Nifti1Image.from_stream(stream)
    else:
        image = nibabel.load(data)
    shape = image.shape
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(f"its shape is {shape}, and a volume has three axes", hint="store it as a 3D volume")
    size = math.prod(map(float, shape)) * image.get_data_dtype().itemsize
    check_size(max(shape[0] * shape[1], shape[0] * shape[2], shape[1] * shape[2]), size)
    if isinstance(data, Path) and data.suffix == ".nii" and data.stat().st_size < size:
        raise DataError(f"it is truncated: {size:,.0f} bytes of voxels are due", hint="copy or download it again")
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(f"its voxels are {image.get_data_dtype()}, not grey values", hint="store numbers")
    if not np.isfinite(image.affine).all():
        raise DataError("its header places voxels nowhere: the affine is not finite", hint="write the file again")
    return image


def _voxel_axis(image: Any, plane: str) -> int:
    """Which axis of the file runs across the plane's slices."""
    assert plane in PLANES
    orientation = package("nibabel").io_orientation(image.affine)
    return int(np.flatnonzero(orientation[:, 0] == _RAS_AXIS[plane])[0])


def _runs_up(image: Any, axis: int) -> bool:
    return bool(package("nibabel").io_orientation(image.affine)[axis, 1] > 0)


def _from_end(count: int, index: int) -> slice:
    return slice(count - 1 - index, count - index)


def _own_window(image: Any) -> tuple[Window, ...]:
    """The display range of the header, if it sets one."""
    low, high = (float(image.header.get(name, 0)) for name in ("cal_min", "cal_max"))
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return ()
    return (Window((low + high) / 2, high - low, name="display range of the header"),)


def _spacing(image: Any, plane: str) -> tuple[float, float]:
    """Millimetres between the rows and between the columns of a plane's slices."""
    orientation = package("nibabel").io_orientation(image.affine)[:, 0]
    sizes = package("nibabel").affines.voxel_sizes(image.affine)
    by_axis = {int(axis): float(size) for axis, size in zip(orientation, sizes, strict=True)}
    down, across = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[plane]
    return by_axis[down], by_axis[across]
