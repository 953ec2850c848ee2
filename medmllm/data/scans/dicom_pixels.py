"""Pixels of one DICOM frame as they are stored, and their colours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmllm.data.scans.dicom_header import EXPORT, Header, numbers, stream_of
from medmllm.data.scans.slices import package
from medmllm.errors import DataError

_COLOURS = ("RGB", "YBR", "PALETTE", "ARGB", "CMYK", "HSV")
_RLE = "1.2.840.10008.1.2.5"
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # baseline and extended
_PLACES = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_PALETTE = "{}PaletteColorLookupTable{}"


def is_coloured(header: Header) -> bool:
    return header.text("PhotometricInterpretation").startswith(_COLOURS)


def stored_values(data: bytes | Path, header: Header) -> NDArray[Any]:
    """One frame, (rows, columns) or (rows, columns, 3): colours are RGB, values are as stored, without overlays.

    Raises:
        DataError: no installed package can unpack it.
    """
    uncompressed = not package("pydicom").uid.UID(header.syntax).is_encapsulated
    if uncompressed and header.number("BitsAllocated") == 1:
        return _bits(data, header)
    stored = int(header.number("BitsStored", header.number("BitsAllocated")))
    spare = int(header.number("HighBit", stored - 1)) + 1 - stored  # bits below the values
    if spare and (uncompressed or header.syntax == _RLE):
        return _shifted(data, header, stored, spare)
    return _decoded(data, header)


def _decoded(data: bytes | Path, header: Header, **options: Any) -> NDArray[Any]:
    pydicom = package("pydicom")
    syntax, failed = pydicom.uid.UID(header.syntax), None
    for plugin in _unpackers(syntax):
        try:
            with stream_of(data) as stream:
                found: NDArray[Any] = pydicom.pixels.pixel_array(
                    stream, index=header.frame, transfer_syntax_uid=syntax, decoding_plugin=plugin, **options
                )
            ybr_jpeg = header.syntax in _JPEG and header.text("PhotometricInterpretation").startswith("YBR")
            return _turned_once(data, header, found) if plugin == "pillow" and ybr_jpeg else found
        except AttributeError as cause:
            if "no pixel data" not in str(cause):
                raise
            raise DataError("it holds no pixels", hint=EXPORT) from cause
        except (RuntimeError, NotImplementedError) as cause:
            failed = failed or cause
    first = str(failed or f"{syntax.name} needs a package that is not installed").splitlines()[0].rstrip(":")
    hint = "pip install pyjpegls, or pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg; or store it plain"
    raise DataError(f"its pixels cannot be unpacked ({first})", hint=hint) from failed


def _turned_once(data: bytes | Path, header: Header, found: NDArray[Any]) -> NDArray[Any]:
    """RGB of a JPEG in YBR. Where Adobe's marker says YBR, pillow turns it into RGB, and pydicom 3.0 does so again."""
    pydicom = package("pydicom")
    with stream_of(data) as stream:
        stored = pydicom.dcmread(stream, force=True, specific_tags=["PixelData", *_PLACES])
    places = tuple(stored.get(name) for name in _PLACES)
    frame = pydicom.encaps.get_frame(
        stored.PixelData,
        header.frame,
        number_of_frames=int(header.number("NumberOfFrames", 1)),
        extended_offsets=places if all(places) else None,
    )
    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as picture:
        return np.asarray(picture) if picture.info.get("adobe_transform") else found


def _unpackers(syntax: Any) -> list[str]:
    """pydicom's plugins that can unpack a transfer syntax; gdcm, which ends the process on damage, only if alone."""
    try:
        found = package("pydicom").pixels.get_decoder(syntax).available_plugins
    except NotImplementedError:
        return []
    return [name for name in found if name != "gdcm"] or list(found) or ([""] if not syntax.is_encapsulated else [])


def _shifted(data: bytes | Path, header: Header, stored: int, spare: int) -> NDArray[Any]:
    """Values that do not lie in the lowest bits: what lies below and above them is not the image."""
    allocated = int(header.number("BitsAllocated"))
    if spare < 0 or stored + spare > allocated:
        raise DataError(f"its HighBit is {stored + spare - 1}, with {stored} of {allocated} bits stored", hint=EXPORT)
    whole = _decoded(data, header, bits_stored=allocated, high_bit=allocated - 1, pixel_representation=0)
    values = (whole.astype(np.int64) >> spare) & (2**stored - 1)
    signed = header.number("PixelRepresentation", 0.0) == 1
    return np.where(values >> (stored - 1), values - 2**stored, values) if signed else values


def _bits(data: bytes | Path, header: Header) -> NDArray[np.uint8]:
    """A frame of one bit a pixel. Frames follow each other without a gap, also where one ends inside a byte."""
    rows, columns = int(header.number("Rows")), int(header.number("Columns"))
    pydicom = package("pydicom")
    with stream_of(data) as stream:
        found = pydicom.dcmread(stream, force=True, specific_tags=["PixelData"])
    packed = np.frombuffer(found.get("PixelData") or b"", np.uint8)
    if not header.little_endian and found["PixelData"].VR == "OW":
        packed = packed[: len(packed) // 2 * 2].view(np.uint16).byteswap().view(np.uint8)
    first, count = header.frame * rows * columns, rows * columns
    bits = np.unpackbits(packed[first // 8 : -(-(first + count) // 8)], bitorder="little")[first % 8 :][:count]
    if len(bits) < count:
        raise DataError("it is truncated: the frame has too few bits", hint="copy or download it again")
    return bits.reshape(rows, columns)


def colours(header: Header, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Colours from 0 to 255; pydicom has made RGB of YBR already."""
    if header.text("PhotometricInterpretation").startswith("PALETTE"):
        return _palette(header, pixels)
    stored = header.number("BitsStored", header.number("BitsAllocated"))
    most = 2.0**stored - 1 if pixels.dtype.kind in "iu" else 255.0
    return np.clip(pixels.astype(np.float32) * np.float32(255.0 / most), 0, 255).round()


def _palette(header: Header, pixels: NDArray[Any]) -> NDArray[np.float32]:
    if header.get(_PALETTE.format("Red", "Data")) is None:
        shown = package("pydicom").pixels.apply_color_lut(pixels, header.data)[..., :3]
        return (shown.astype(np.float32) * (255.0 / np.iinfo(shown.dtype).max)).round()
    return np.stack([_channel(header, name, pixels) for name in ("Red", "Green", "Blue")], axis=-1)


def _channel(header: Header, name: str, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """One colour of a palette: its high byte, as entries of 16 bits are shown."""
    described = numbers(header.get(_PALETTE.format(name, "Descriptor")))
    content = header.get(_PALETTE.format(name, "Data"))
    if len(described) != 3 or not np.isfinite(described).all() or not isinstance(content, bytes):
        raise DataError(f"its palette has no usable table of {name.lower()}", hint=EXPORT)
    entries = words_or_bytes(header, content, int(described[0]) or 2**16)
    first = int(described[1])
    table = (entries >> 8 if entries.max(initial=0) > 255 else entries).astype(np.float32)
    return table[np.clip(pixels.astype(np.int64) - first, 0, len(table) - 1)]


def words_or_bytes(header: Header, content: bytes, count: int) -> NDArray[np.int64]:
    """Entries of a table in 16-bit words, or two to a word where there are only so many bytes."""
    words = np.frombuffer(content[: len(content) // 2 * 2], np.uint16 if header.little_endian else ">u2")
    if len(words) < count <= len(content):
        return words.astype("<u2").view(np.uint8)[:count].astype(np.int64)
    if len(words) < count or not count:
        raise DataError(f"a table of its header has {len(words)} entries, and {count} are expected", hint=EXPORT)
    return words[:count].astype(np.int64)
