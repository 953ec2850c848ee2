"""How a row names one slice of a volume: `PATH#PLANE=INDEX`."""

from __future__ import annotations

import re
from dataclasses import dataclass

DICOM_ENDINGS = (".dcm", ".dicom", "/")
NIFTI_ENDINGS = (".nii", ".nii.gz")
PLANES = ("axial", "coronal", "sagittal")
_FRAGMENT = re.compile(r"(?P<path>.+)#(?P<plane>axial|coronal|sagittal)(?:=(?P<index>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """One image: a file (or a folder that is a DICOM series), and the slice of it.

    Attributes:
        path: as the row has it, without the slice; a series ends with "/".
        plane: plane of the slice, as radiologists call it.
        index: number of the slice from 0, from the feet up, from back to front, from left to right; None: the middle.
    """

    path: str
    plane: str = "axial"
    index: int | None = None

    @property
    def is_nifti(self) -> bool:
        return self.path.lower().endswith(NIFTI_ENDINGS)

    @property
    def is_series(self) -> bool:
        return self.path.endswith("/")

    @property
    def is_scan(self) -> bool:
        return self.path.lower().endswith((*DICOM_ENDINGS, *NIFTI_ENDINGS))


def address(name: str) -> Address:
    """Read an image's name; a name without a slice is a path as it stands."""
    found = _FRAGMENT.fullmatch(name)
    if found is None or not Address(found["path"]).is_scan:
        return Address(name)
    return Address(found["path"], found["plane"], None if found["index"] is None else int(found["index"]))
