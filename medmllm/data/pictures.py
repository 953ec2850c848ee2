"""Pictures of ordinary formats as 8-bit RGB: all bits are read, pages are named, and nothing is shown upside down."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.ImageFile import _Tile as Tile
from PIL.TiffImagePlugin import TiffImageFile

from medmllm.errors import DataError

# What Pillow may read. Others are left out for what they do: EPS, for one, is handed to Ghostscript and run.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
# Pillow's modes of more than eight bits a channel: `convert("RGB")` would clip them at 255.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC, _SUBFILE, _PLANES, _SUBSAMPLING = 262, 254, 284, 530  # tags of TIFF
_YCBCR = 6  # as a photometric interpretation
_WHITE = "white is 0"  # of an opened TIFF's `info`, where its own mark was changed
_DEFLATED = ("tiff_adobe_deflate", "tiff_deflate")
_CHUNK = 2**20
_REDUCED = 1  # bit of a subfile that is a smaller copy of another page
_PAGES = 100_000  # that a file is searched for


def decode_picture(data: bytes | Path, page: int | None = None) -> Image.Image:
    """8-bit RGB of a picture, turned as its EXIF says; a transparent one lies on black.

    Pictures of more than eight bits a channel are rescaled to the range that they use.

    Args:
        page: which page of a TIFF, or frame of an animation, from 0; None: the only one.

    Raises:
        DataError: it has several pages and none is named, or not so many.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _open(data) as image:
            if image.format == "PNG":
                image.verify()  # of its check sums; an image that was verified cannot be read
        with _open(data) as image:
            _turn_to(image, page)
            _check_strips(data, image)
            _take_as_ycbcr(image)
            if _hidden_bits(image):
                picture = _of_sixteen(data, image, page)
            else:
                image.load()
                picture = _to_rgb(image)
            turned: Image.Image = ImageOps.exif_transpose(_with_exif(picture, image))
            return turned


def count_pages(data: bytes | Path) -> int:
    """Pages or frames of a picture; smaller copies of pages are not counted."""
    with _open(data) as image:
        return len(_pages(image))


def is_deep(data: bytes | Path) -> bool:
    """Whether a picture has more than eight bits a channel; only its head is read."""
    with _open(data) as image:
        return image.mode in _DEEP_MODES or _hidden_bits(image)


def _open(data: bytes | Path) -> ImageFile:
    Image.init()  # Pillow knows few formats by name before
    try:
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_FORMATS)
    except UnidentifiedImageError:
        content = data if isinstance(data, bytes) else data.read_bytes()
        if content[:4] != b"MM\0*":
            raise
        image = Image.open(io.BytesIO(_white_as_most(content)), formats=_FORMATS)
        image.info[_WHITE] = True
        return image


def _white_as_most(content: bytes) -> bytes:
    """A big-endian TIFF with its pages marked as if black were 0, since Pillow opens no others of sixteen bits."""
    changed, place, seen = bytearray(content), struct.unpack(">I", content[4:8])[0], set()
    while place and place not in seen:
        seen.add(place)
        count = struct.unpack(">H", content[place : place + 2])[0]
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            if struct.unpack(">HHIH", content[entry : entry + 10]) == (_PHOTOMETRIC, 3, 1, 0):
                changed[entry + 8 : entry + 10] = struct.pack(">H", 1)
        place = struct.unpack(">I", content[place + 2 + 12 * count :][:4])[0]
    return bytes(changed)


def _pages(image: Image.Image) -> list[int]:
    """Numbers of the frames that are pages of their own. The further pictures of a phone's JPEG are not."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if not isinstance(image, TiffImageFile) or count == 1:
        return list(range(count))
    pages = []
    for number in range(min(count, _PAGES)):
        image.seek(number)
        if not int(image.tag_v2.get(_SUBFILE, 0)) & _REDUCED:
            pages.append(number)
    return pages


def _turn_to(image: Image.Image, page: int | None) -> None:
    pages = _pages(image)
    if page is None and len(pages) > 1:
        what = "pages" if isinstance(image, TiffImageFile) else "frames"
        hint = f"name one, as in FILE#page=0, up to {len(pages) - 1}; data.slices=N takes N of them"
        raise DataError(f"it has {len(pages)} {what}, and none is named", hint=hint)
    if page is not None and page >= len(pages):
        raise DataError(f"it has {len(pages)} pages, and number {page} is requested", hint="numbers go from 0")
    if getattr(image, "n_frames", 1) > 1:
        image.seek(pages[page or 0])


def _check_strips(data: bytes | Path, image: Image.Image) -> None:
    """Check the sums of a deflated TIFF, which libtiff reports to the screen alone."""
    if not isinstance(image, TiffImageFile) or image.info.get("compression") not in _DEFLATED:
        return
    tags = image.tag_v2
    places, lengths = (tags.get(strips, tags.get(tiles, ())) for strips, tiles in ((273, 324), (279, 325)))
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as stream:
        for place, length in zip(places, lengths, strict=True):
            stream.seek(place)
            unpacker, packed = zlib.decompressobj(), stream.read(length)
            while packed and not unpacker.eof:
                unpacker.decompress(packed, _CHUNK)
                packed = unpacker.unconsumed_tail
            if not unpacker.eof:
                raise OSError("a strip of its compressed data ends early")


def _take_as_ycbcr(image: ImageFile) -> None:
    """Correct how the bytes of a YCbCr TIFF are read that is packed without libtiff.

    Pillow before 13 takes them for RGB with a byte of padding, and reads on into the next page; every release takes
    colours that are stored for four pixels at once for those of one.

    Raises:
        DataError: the colours are not stored pixel by pixel.
    """
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(_PHOTOMETRIC) != _YCBCR or len(image.getbands()) != 3:
        return
    if any(tile.codec_name == "libtiff" for tile in image.tile):
        return
    if tuple(image.tag_v2.get(_SUBSAMPLING, (2, 2))) != (1, 1) or image.tag_v2.get(_PLANES, 1) != 1:
        raise DataError("its colours are stored apart from its brightness, without compression", hint="store it as PNG")
    image._mode = "YCbCr"
    image.tile = [_read_in(tile, "YCbCr") for tile in image.tile]


def _hidden_bits(image: ImageFile) -> bool:
    """Whether a picture has sixteen bits a channel, of which Pillow would keep eight."""
    return any(";16" in _raw_mode(image, number) for number in range(len(image.tile))) and image.mode not in _DEEP_MODES


def _raw_mode(image: ImageFile, number: int) -> str:
    found = image.tile[number].args
    return str(found[0] if isinstance(found, tuple) else found)


def _of_sixteen(data: bytes | Path, image: ImageFile, page: int | None) -> Image.Image:
    """A picture of sixteen bits a channel, rescaled over all colours; Pillow gives its bytes in two readings.

    Raises:
        DataError: packed in a way whose lower bytes Pillow does not give.
    """
    raw = _raw_mode(image, 0)
    if raw.startswith("LA;16"):  # four bytes a pixel: grey and alpha, each the high byte first
        halves = _bytes(data, page, "RGBA", "RGBA").astype(np.int64)
        values = halves[..., 0::2] * 256 + halves[..., 1::2]
    elif raw.partition(";")[0] in ("RGB", "RGBA") and raw[-3:] in ("16B", "16L", "16N"):
        # where this byte order has the high byte, the other has the low one
        big = raw.endswith("B") or (raw.endswith("N") and sys.byteorder == "big")
        low = raw[:-1] + ("L" if big else "B")
        high_bytes, low_bytes = (_bytes(data, page, image.mode, mode).astype(np.int64) for mode in (raw, low))
        values = high_bytes * 256 + low_bytes
    else:
        raise DataError(f"its sixteen bits are stored as {raw}, which cannot be read whole", hint="store it as PNG")
    colours = values[..., :3] if values.shape[-1] > 2 else values[..., :1]
    shown = np.broadcast_to(_rescale(colours), (*values.shape[:2], 3))
    if values.shape[-1] in (2, 4):
        shown = np.rint(shown * (values[..., -1:] / 65535)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(shown))


def _bytes(data: bytes | Path, page: int | None, mode: str, raw: str) -> NDArray[np.uint8]:
    """Pixels as Pillow unpacks them when it takes them for another layout of as many bits."""
    with _open(data) as image:
        _turn_to(image, page)
        image._mode = mode
        image.tile = [_read_in(tile, raw) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _read_in(tile: Tile, raw: str) -> Tile:
    """A piece of a picture, whose bytes Pillow is to take for another layout."""
    return tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes: deep images are rescaled, alpha is laid on black."""
    if image.mode in _DEEP_MODES:
        grey = _rescale(np.asarray(image, dtype=np.float64))
        return Image.fromarray(255 - grey if _zero_is_white(image) else grey).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        black = Image.new("RGBA", seen.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, seen).convert("RGB")
    return image.convert("RGB")


def _zero_is_white(image: Image.Image) -> bool:
    """Whether a deep TIFF is inverted: Pillow inverts eight bits alone."""
    if not isinstance(image, TiffImageFile):
        return False
    return image.tag_v2.get(_PHOTOMETRIC) == 0 or _WHITE in image.info


def _with_exif(picture: Image.Image, image: Image.Image) -> Image.Image:
    """The picture with the orientation that the file gives it."""
    picture.info["exif"] = image.getexif().tobytes()
    return picture


def _rescale(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Min-max rescale to `uint8`; non-finite pixels and constant images become 0."""
    finite = np.isfinite(pixels)
    low, high = (pixels[finite].min(), pixels[finite].max()) if finite.any() else (0.0, 0.0)
    span = high - low or 1.0
    return np.rint(np.where(finite, pixels - low, 0.0) / span * 255).astype(np.uint8)
