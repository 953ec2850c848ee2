"""How a row names one slice of a scan, `PATH#PLANE=INDEX`, and how files of scans are recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["", "dicom", "nifti", "nrrd", "metaimage"]
DICOM_ENDINGS = (".dcm", ".dicom", ".ima", "/")
NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
NRRD_ENDINGS = (".nrrd", ".nhdr")
META_ENDINGS = (".mha", ".mhd")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2")
_ENDINGS: dict[Kind, tuple[str, ...]] = {
    "dicom": DICOM_ENDINGS,
    "nifti": NIFTI_ENDINGS,
    "nrrd": NRRD_ENDINGS,
    "metaimage": META_ENDINGS,
}
SCAN_ENDINGS = tuple(sorted((e for several in _ENDINGS.values() for e in several if e != "/"), key=len, reverse=True))
PLANES = ("axial", "coronal", "sagittal")
HEAD = 352  # bytes that tell a scan
_CHOICE = r"(?:(?:axial|coronal|sagittal|page|time|group)(?:=\d{1,9})?|window=[\w./:-]+)"
_FRAGMENT = re.compile(rf"(?P<path>.+)#(?P<choices>{_CHOICE}(?:,{_CHOICE})*)")


@dataclass(frozen=True, slots=True)
class Address:
    """One image: a file (or a folder that is a DICOM series), and the slice of it.

    Attributes:
        path: as the row has it, without the slice; a series ends with "/".
        plane: plane of the slice, as radiologists call it; "page" of a picture with several.
        index: number of the slice from 0, from the feet up, from back to front, from left to right; None: the middle.
        time: number of the volume in a series in time, from 0; None: not said.
        group: number of the group of files in a folder, from 1; None: not said.
        window: in which this image is shown, whatever the others are; "": not said.
    """

    path: str
    plane: str = "axial"
    index: int | None = None
    time: int | None = None
    group: int | None = None
    window: str = ""

    @property
    def name(self) -> str:
        """The address as a row writes it."""
        numbers = (("group", self.group), ("time", self.time))
        words = [f"{word}={number}" for word, number in numbers if number is not None]
        words.append(self.plane if self.index is None else f"{self.plane}={self.index}")
        words += [f"window={self.window}"] if self.window else []
        return f"{self.path}#{','.join(words)}"

    @property
    def kind(self) -> Kind:
        """The kind that the ending names; "" where it names none, or a picture."""
        name = self.path.lower()
        return next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), "")

    @property
    def is_series(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_scan(self) -> bool:
        return self.kind != ""

    @property
    def is_picture(self) -> bool:
        return self.path.lower().endswith(PICTURE_ENDINGS)


def address(name: str) -> Address:
    """Read an image's name; a name without a slice is a path as it is."""
    found = _FRAGMENT.fullmatch(name)
    if found is None:
        return Address(name)
    choices = [choice.partition("=") for choice in found["choices"].split(",")]
    window = next((value for word, _, value in choices if word == "window"), "")
    numbers = {word: int(number) if number else None for word, _, number in choices if word != "window"}
    planes = [word for word in numbers if word not in ("time", "group")]
    path, plane = found["path"], (planes or ["axial"])[0]
    pages, bare = planes == ["page"] and len(numbers) == 1, Address(path)
    wrong = bare.is_scan if pages else bare.is_picture or "page" in planes
    if wrong or len(planes) > 1 or len(numbers) + bool(window) < len(choices):
        return Address(name)
    return Address(path, plane, numbers.get(plane), numbers.get("time"), numbers.get("group"), window)


def kind_of(head: bytes) -> Kind:
    """The kind of a file by its first bytes, without an ending; "" for anything but a scan."""
    if looks_like_dicom(head):
        return "dicom"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0":
        return "nifti"
    if head[:4] == b"NRRD":
        return "nrrd"
    return "metaimage" if head[:10] == b"ObjectType" or head[:5] == b"NDims" else ""


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM does: with its mark behind 128 free bytes, or without both, with group 2 or 8."""
    if head[128:132] == b"DICM":
        return True
    little, big = head[:2] in (b"\x02\0", b"\x08\0"), head[:2] in (b"\0\x02", b"\0\x08")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return (little and (explicit or head[6:8] == b"\0\0")) or (big and explicit)
