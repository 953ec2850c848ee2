"""Headers of DICOM as one frame sees them: the frame's functional groups, those of all frames, the file's own."""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medmllm.data.scans.address import looks_like_dicom
from medmllm.data.scans.slices import AGAIN, check_size, package
from medmllm.errors import DataError

_DEFLATED, _EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"  # of one length
_META = 144  # bytes before the meta information that its first element counts
_MOST_INFLATED = 2**26
_UID = re.compile(r"[0-9.]{1,64}")
_HEAD = 4096  # bytes that hold the file's meta information
_BEHIND_PIXELS = ((0xFFFC, 0xFFFC), (0xFFFA, 0xFFFA))  # padding, signatures
_UNDEFINED = 2**32 - 1  # length of packed pixels
EXPORT = "export it again from where it came"
# Which functional group holds what (DICOM PS3.3, C.7.6.16.2).
_GROUPS = {
    "PixelSpacing": "PixelMeasuresSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "WindowCenterWidthExplanation": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
    "VOILUTSequence": "FrameVOILUTSequence",
    "PixelIntensityRelationship": "FramePixelDataPropertiesSequence",
}
_SHARED, _OF_FRAMES = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Header fields that are read; everything else stays in the file.
# fmt: off
_READ = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "SeriesInstanceUID", "InstanceNumber",
    "SeriesDescription", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue", "TriggerTime",
    "AcquisitionTime", "ContentTime", "AcquisitionNumber", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelAspectRatio", "PresentationLUTShape",
]
# fmt: on
_READ += [
    f"{kind}{colour}PaletteColorLookupTable{what}"
    for kind, what in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    for colour in ("Red", "Green", "Blue")
]


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file for one of its frames.

    Attributes:
        data: pydicom's data set, without pixels.
        syntax: UID of the transfer syntax.
        frame: whose functional groups are read.
    """

    data: Any
    syntax: str
    frame: int = 0

    def get(self, name: str) -> Any:
        """A value by pydicom's keyword; None where it is missing or empty."""
        for groups in self._groups() if name in _GROUPS else ():
            for item in groups.get(_GROUPS[name]) or ():
                value = item.get(name)
                if value not in (None, ""):
                    return value
        value = self.data.get(name)
        return None if value in (None, "") else value

    def _groups(self) -> list[Any]:
        own = self.data.get(_OF_FRAMES) or ()
        return [*own[self.frame : self.frame + 1], *(self.data.get(_SHARED) or ())[:1]]

    def number(self, name: str, default: float | None = None) -> float:
        """One number; the default where it is missing or empty, the first of several."""
        value = self.get(name)
        several = numbers(value) if value is not None else [math.nan if default is None else default]
        if not several or not math.isfinite(several[0]):
            raise DataError(f"its header has no usable {name}", hint=EXPORT)
        return several[0]

    def text(self, name: str) -> str:
        return str(self.get(name) or "")

    @property
    def little_endian(self) -> bool:
        return bool(package("pydicom").uid.UID(self.syntax).is_little_endian)


def numbers(value: Any) -> list[float]:
    """Numbers of a value that may be one, several, or none; one that cannot be read is not a number."""
    several = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    return [_number(one) for one in several]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def stream_of(data: bytes | Path) -> BinaryIO:
    """A file's content; what is stored deflated is unpacked, up to a size that no bomb gains from."""
    stream: BinaryIO = io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
    head = stream.read(_HEAD)
    stream.seek(0)
    if head[128:132] != b"DICM" or _DEFLATED not in head:
        return stream
    with stream:
        return io.BytesIO(_inflated(stream.read()))


def _inflated(content: bytes) -> bytes:
    """A deflated file as a plain one: behind its meta information everything is one stream."""
    end = _META + struct.unpack("<I", content[_META - 4 : _META])[0]
    unpacker = zlib.decompressobj(-15)
    unpacked = unpacker.decompress(content[end:], _MOST_INFLATED)
    if not unpacker.eof:
        what = f"it is stored deflated, and is damaged or unpacks to more than {_MOST_INFLATED:,} bytes"
        raise DataError(what, hint="store it explicit and plain")
    return content[:end].replace(_DEFLATED, _EXPLICIT) + unpacked


def read_header(data: bytes | Path) -> Header:
    """The header of a file that holds a picture, with sizes that can be; pixels stay in the file.

    Raises:
        DataError: it is not DICOM, it is an object without a picture, or it claims an impossible size.
    """
    header = open_header(data)
    if header.data.get("Rows") is None and header.data.get("Columns") is None:
        raise DataError(f"it is {_kind(header)}: it holds no picture", hint="name the images of the study instead")
    rows, columns = header.number("Rows"), header.number("Columns")
    samples = header.number("SamplesPerPixel", 1.0) * header.number("BitsAllocated", 16.0) / 8
    check_size(rows * columns, rows * columns * samples * count_frames(header))
    return header


def open_header(data: bytes | Path) -> Header:
    """The header of any DICOM file."""
    pydicom = package("pydicom")
    with stream_of(data) as stream:
        if not looks_like_dicom(stream.read(_HEAD)):
            raise DataError("it is not DICOM", hint="name a DICOM file; pictures and volumes keep their own endings")
        stream.seek(0)
        tags = [*_READ, *_GROUPS, _SHARED, _OF_FRAMES]
        found = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
        implicit, little = found.original_encoding
        _check_end(stream, implicit=bool(implicit), little=bool(little))
    plain = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
    written = found.file_meta.get("TransferSyntaxUID")
    return Header(found, str(written or (plain if little else pydicom.uid.ExplicitVRBigEndian)))


def _check_end(stream: BinaryIO, *, implicit: bool, little: bool) -> None:
    """Make sure that plain pixels, before which the stream is, end where they should.

    Bytes that were lost or added would shift them. Behind them may come signatures, padding, or zeros.
    """
    order = "<" if little else ">"
    head = stream.read(12)
    if len(head) < 12:
        return  # no pixels at all, which is reported when they are read
    group, number = struct.unpack(order + "HH", head[:4])
    size = struct.unpack(order + "I", head[4:8] if implicit else head[8:12])[0]
    if (group, number) != (0x7FE0, 0x10) or size == _UNDEFINED:
        return
    end, length = stream.tell() - (4 if implicit else 0) + size, stream.seek(0, io.SEEK_END)
    if end > length:
        raise DataError(f"it is truncated: {end - length:,} bytes of its pixels are missing", hint=AGAIN)
    stream.seek(end)
    rest = stream.read(4)
    if rest.strip(b"\0") and (len(rest) < 4 or struct.unpack(order + "HH", rest) not in _BEHIND_PIXELS):
        raise DataError("what follows its pixels is not DICOM: bytes were added or lost", hint=AGAIN)


def count_frames(header: Header) -> int:
    """Frames as the header writes them; a file without the number has one."""
    frames = header.number("NumberOfFrames", 1.0)
    if frames != int(frames) or not 0 < frames < 2**31:
        raise DataError(f"its header claims {frames:g} frames", hint=EXPORT)
    return int(frames)


def _kind(header: Header) -> str:
    """The kind of an object without a picture, in words."""
    uid = str(header.data.get("SOPClassUID") or header.data.file_meta.get("MediaStorageSOPClassUID") or "")
    name = str(package("pydicom").uid.UID(uid).name) if _UID.fullmatch(uid) else ""
    if "Media Storage Directory" in name:
        return "a DICOMDIR, an index of other files"
    if name == uid or "Image Storage" in name:
        return f"a DICOM file{name and f' of the kind {name}'} without rows and columns"
    return f"a DICOM object of the kind {name}"
