"""A scan as the bytes of one file, for shards."""

from __future__ import annotations

from pathlib import Path

from medmllm.data.scans.address import Address
from medmllm.data.scans.dicom import place_of_slice
from medmllm.errors import DataError

_PAIRS = (".hdr", ".img", ".hdr.gz", ".img.gz", ".nhdr", ".mhd")


def portable(path: Path, found: Address) -> tuple[bytes, str]:
    """The bytes that show a slice, and the name under which they are opened: of a folder one file, else the file whole.

    Raises:
        DataError: the scan is in two files.
    """
    if path.is_dir():
        file, frame = place_of_slice(path, found)
        return file.read_bytes(), Address(f"{file.name}", index=frame, window=found.window).name
    if found.path.lower().endswith(_PAIRS):
        raise DataError("the scan is in two files, and a sample of a shard is one", hint="store it as one .nii.gz")
    return path.read_bytes(), found.path if found == Address(found.path) else found.name
