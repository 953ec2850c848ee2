"""Slices of NIfTI volumes: NIfTI-1 and -2, one file or a pair, packed or not."""

from __future__ import annotations

import gzip
import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medmllm.data.scans.address import Address
from medmllm.data.scans.slices import Slice, package
from medmllm.data.scans.volume import beside, check_volume, check_voxels, count_in_plane, cut_plane, inflate
from medmllm.data.scans.window import Window
from medmllm.errors import DataError

_GZIP = b"\x1f\x8b"
_EXTENSIONS = 2**24  # bytes that may follow the header, before the voxels or behind them


def read_nifti(data: bytes | Path, found: Address) -> Slice:
    """One slice as radiologists look at it."""
    image = _open(data, found)
    header = image.header
    known = header.get("sform_code", 0) > 0 or header.get("qform_code", 0) > 0
    choices = () if known else ("its header says nothing of directions: left is taken to come first",)
    return cut_plane(image, found, _own_window(header), choices)


def count_nifti(data: bytes | Path, found: Address) -> int:
    """Slices of the volume in the address's plane."""
    return count_in_plane(_sound_header(data, found), found)


def _open(data: bytes | Path, found: Address) -> Any:
    """The volume with a sound header; of packed files every byte is unpacked and checked."""
    image = _sound_header(data, found)
    size = check_volume(image)
    if isinstance(data, bytes):
        if data[:2] == _GZIP:
            return _unpacked(io.BytesIO(data), image, size)
        _check_length(len(data), image, size)
        return image
    voxels = Path(image.file_map["image"].filename)
    with voxels.open("rb") as stream:
        if stream.read(2) == _GZIP:
            stream.seek(0)
            return _unpacked(stream, image, size)
        _check_length(stream.seek(0, io.SEEK_END), image, size)
    return image


def _check_length(length: int, image: Any, size: int) -> None:
    check_voxels(length - image.dataobj.offset, size)


def _sound_header(data: bytes | Path, found: Address) -> Any:
    """The volume with a header that can be; no voxel is read."""
    nibabel = package("nibabel")
    if isinstance(data, bytes):
        if found.path.lower().endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
            hint = "store it as one file, .nii or .nii.gz"
            raise DataError("a pair of .hdr and .img cannot be kept as the bytes of one of them", hint=hint)
        stream: Any = io.BytesIO(data)
        stream = gzip.GzipFile(fileobj=stream) if data[:2] == _GZIP else stream
        head = stream.read(4)
        stream.seek(0)
        second = int.from_bytes(head, "little") == 540 or int.from_bytes(head, "big") == 540
        with _silent():
            image = (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_stream(stream)
    else:
        with _silent():
            image = nibabel.load(_header_of_pair(data))
        if not isinstance(image, nibabel.Nifti1Pair):
            what = f"it is {type(image).__name__.removesuffix('Image')}; that format does not record left and right"
            raise DataError(what, hint="convert it to NIfTI with a program that knows where it is from")
    check_volume(image)
    return image


@contextmanager
def _silent() -> Iterator[None]:
    """Keep nibabel from writing about odd headers; what matters is checked here."""
    logger = package("nibabel.imageglobals").logger
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _header_of_pair(path: Path) -> Path:
    """The file to open: of a pair the header, whose voxels must be beside it."""
    name = path.name.lower()
    for ending, other in ((".img", ".hdr"), (".hdr", ".img"), (".img.gz", ".hdr.gz"), (".hdr.gz", ".img.gz")):
        if name.endswith(ending):
            both = {ending: path, other: beside(path, path.name[: -len(ending)] + other)}
            return next(found for kind, found in both.items() if kind.startswith(".hdr"))
    return path


def _unpacked(stream: Any, image: Any, size: int) -> Any:
    """The same volume with its voxels in memory."""
    content = inflate(stream, image.dataobj.offset + size + _EXTENSIONS)
    _check_length(len(content), image, size)
    if image.header.get("magic") in (b"ni1", b"ni2\0\r\n\x1a\n"):
        holders = {name: package("nibabel").FileHolder(fileobj=io.BytesIO(part)) for name, part in
                   (("header", image.header.binaryblock), ("image", content))}  # fmt: skip
        return type(image).from_file_map(holders)
    return type(image).from_bytes(content)


def _own_window(header: Any) -> tuple[Window, ...]:
    """The display range of the header, if it sets one."""
    low, high = (float(header.get(name, 0)) for name in ("cal_min", "cal_max"))
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return ()
    return (Window((low + high) / 2, high - low, name="display range of the header"),)
