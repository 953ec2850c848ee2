"""Decoding one image: fully, without silent damage, and never from outside the data set's folder."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from medmllm.errors import DataError

# Pillow's modes of more than eight bits a channel: `convert("RGB")` would clip them at 255.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def locate(folder: Path, name: str, *, allow_outside: bool = False) -> Path:
    """The file that an image name of a data file stands for.

    Args:
        folder: the data file's folder; names are relative to it.
        name: image name as the data file has it.
        allow_outside: let absolute names, `..` and symbolic links lead out of the folder.

    Raises:
        ValueError: the name is absolute or leads out of the folder, also through a symbolic link.
    """
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError) as cause:  # a loop of symbolic links
        raise ValueError(f"the image path {name!r} cannot be followed ({cause})") from cause
    if allow_outside:
        return path
    if Path(name).is_absolute():
        raise ValueError(f"the image path {name!r} is absolute; paths are relative to the data file")
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the image path {name!r} leaves the data file's folder")
    return path


def decode(data: bytes | Path, *, where: str) -> Image.Image:
    """Decode an image to 8-bit RGB.

    Every pixel is read, so a truncated file fails here and not later. Images of more than eight bits a
    pixel are rescaled, $x \\mapsto 255 (x - \\min) / (\\max - \\min)$ over their finite values, never clipped.

    Args:
        data: the file's content, or its path.
        where: place for the error message ("train.json: row 17, image a.png").

    Raises:
        DataError: missing, truncated, not an image, or larger than Pillow's limit against decompression bombs.
    """
    if isinstance(data, Path) and not os.path.isfile(data):
        raise DataError("the image does not exist", where=where, hint="correct the path, or remove the row")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
                image.load()
                return to_rgb(image)
    except Exception as cause:  # a damaged file makes Pillow's decoders raise nearly anything
        raise _unreadable(cause, where) from cause


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes; deep images are rescaled, alpha is dropped."""
    if image.mode in _DEEP_MODES:
        return Image.fromarray(_rescale(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _rescale(pixels: np.ndarray) -> np.ndarray:
    """Min-max rescale to `uint8`; non-finite pixels and constant images become 0."""
    finite = np.isfinite(pixels)
    low, high = (pixels[finite].min(), pixels[finite].max()) if finite.any() else (0.0, 0.0)
    span = high - low or 1.0
    return np.rint(np.where(finite, pixels - low, 0.0) / span * 255).astype(np.uint8)


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
        f"the image is truncated or damaged ({cause})",
        where=where,
        hint="copy or download it again, or set data.on_bad_sample=skip to leave such rows out",
    )
