"""Decoding one image: fully, without silent damage, and never from outside the data set's folder."""

from __future__ import annotations

import errno
import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from medmllm.data.pictures import decode_picture
from medmllm.data.scans.address import HEAD, Address, Kind, address, kind_of
from medmllm.data.scans.window import AUTO
from medmllm.errors import DataError, UserError

_LONGEST = 120  # letters of a decoder's message that are shown

if TYPE_CHECKING:
    from medmllm.data.scans.render import Shown


def locate(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file that an image name of a data file stands for.

    Args:
        folder: the data file's folder; names are relative to it.
        name: image name as the data file has it.
        allow_outside: let absolute names, `..` and symbolic links lead out of the folder.

    Raises:
        ValueError: the name is absolute or leads out of the folder, also through a symbolic link.
    """
    name = address(name).path
    root = _real(str(folder))
    path = os.path.realpath(os.path.join(root, name))
    if _loops(path):
        raise ValueError(f"the image path {name!r} cannot be followed (a loop of symbolic links)")
    if allow_outside:
        return Path(path)
    if os.path.isabs(name):
        raise ValueError(f"the image path {name!r} is absolute; paths are relative to the data file")
    if path != root and not path.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError(f"the image path {name!r} leaves the data file's folder")
    return Path(path)


def _loops(path: str) -> bool:
    try:
        os.stat(path)
    except OSError as cause:
        return cause.errno == errno.ELOOP
    return False


@lru_cache(maxsize=64)
def _real(folder: str) -> str:
    """A folder without links; asked for again with every image of a data set."""
    return os.path.realpath(folder)


def decode(data: bytes | Path, *, where: str, name: str = "", window: str = AUTO) -> Image.Image:
    """Decode an image to 8-bit RGB.

    Every pixel is read, so a truncated file fails here and not later. Pictures of more than eight bits a
    channel are rescaled, $x \\mapsto 255 (x - \\min) / (\\max - \\min)$ over their finite values, never clipped.
    Scans are shown in a window (`medmllm.data.scans`).

    Args:
        data: the file's content, or its path; a folder of DICOM files is a series.
        where: place for the error message ("train.json: row 17, image a.png").
        name: the image's name, which may say the slice of a volume ("ct.nii.gz#axial=40"), or a page ("a.tif#page=2").
        window: how scans are shown: a window's name, "CENTRE/WIDTH", or "auto".

    Raises:
        DataError: missing, truncated, not an image, or larger than Pillow's limit against decompression bombs.
        MissingExtraError: a scan, and its reader is not installed.
    """
    found = decode_any(data, where=where, name=name, window=window)
    return found if isinstance(found, Image.Image) else found.picture


def decode_any(data: bytes | Path, *, where: str, name: str = "", window: str = AUTO) -> Image.Image | Shown:
    """The same, and of a scan also how its picture came about."""
    found = address(name or str(data))
    if isinstance(data, Path):
        _check_there(data, found.is_series, where)
    try:
        kind = kind_in(data, name or str(data))
        if kind:
            from medmllm.data.scans.render import show

            return show(data, found, window, kind)
        if found.plane != "page" and found != Address(found.path):
            raise DataError(f"it is a picture, and has no {found.plane} slices", hint="name it without a slice")
        return decode_picture(data, found.index)
    except UserError as known:
        known.where = known.where or where
        raise
    except Exception as cause:  # a damaged file makes decoders raise nearly anything
        raise _unreadable(cause, where) from cause


def _check_there(path: Path, series: bool, where: str) -> None:
    if os.path.isdir(path) and not series:
        hint = "name an image file; a folder that is one DICOM series is written with / at its end"
        raise DataError("the image is a folder", where=where, hint=hint)
    if not (os.path.isdir(path) or os.path.isfile(path)):
        raise DataError("the image does not exist", where=where, hint="correct the path, or remove the row")


def is_scan(name: str, path: Path) -> bool:
    """Whether an image is a scan, by its name or, where that says nothing, by its first bytes."""
    return address(name).is_scan or (path.is_file() and scan_kind(path) != "")


def kind_in(data: bytes | Path, name: str) -> Kind:
    """Which kind of scan an image is; "" for a picture. Bytes speak for themselves, a file first by its name."""
    named = address(name).kind
    if isinstance(data, bytes):
        return scan_kind(data) or named
    return named or ("" if data.is_dir() else scan_kind(data))


def scan_kind(data: bytes | Path) -> Kind:
    """Which kind of scan a file without a telling ending is, by its first bytes; "" for a picture."""
    if isinstance(data, bytes):
        head = data[:HEAD]
    else:
        with data.open("rb") as stream:
            head = stream.read(HEAD)
    if head[:2] == b"\x1f\x8b":
        head = zlib.decompressobj(31).decompress(data if isinstance(data, bytes) else head, HEAD)
    return kind_of(head)


def _unreadable(cause: Exception, where: str) -> DataError:
    if isinstance(cause, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return DataError(
            f"the image has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels, which may be a decompression bomb",
            where=where,
            hint="store it smaller; the model reads a few hundred pixels a side",
        )
    if isinstance(cause, UnidentifiedImageError):
        return DataError("the file is not an image that can be read", where=where, hint="store it as PNG or JPEG")
    return DataError(
        f"the image is truncated or damaged ({_first_words(cause)})",
        where=where,
        hint="copy or download it again, or set data.on_bad_sample=skip to leave such rows out",
    )


def _first_words(cause: Exception) -> str:
    """A decoder's message, if it is one short printable sentence."""
    line = next(iter(str(cause).splitlines()), "").split(". ")[0]
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    short = line if len(line) <= _LONGEST else line[:_LONGEST] + "..."
    return short or type(cause).__name__
