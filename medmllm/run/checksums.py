"""`SHA256SUMS` of a saved model: what each file was when it was written, for `sha256sum -c SHA256SUMS` too.

A flipped bit in a weight changes answers, and nothing else would show it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from medmllm.errors import ConfigError
from medmllm.run.manifest import sha256

NAME = "SHA256SUMS"
OTHERS = (NAME, "README.md")  # the card may be edited


def write_checksums(folder: Path) -> None:
    """Write the sums of all files of a folder, except the card."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in OTHERS)
    (folder / NAME).write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files), encoding="utf-8")


def check_checksums(folder: Path) -> None:
    """Refuse a folder whose files are not as they were written; one without sums says nothing.

    Files are read once a process, unless they change.

    Raises:
        ConfigError: a file is missing or has changed.
    """
    if (folder / NAME).is_file():
        stamps = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
        _check(folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in sorted(stamps.items())))


@lru_cache
def _check(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> None:
    there = {name for name, _, _ in stamps}
    for line in (folder / NAME).read_text("utf-8", errors="replace").split("\n"):
        known, _, name = line.partition("  ")
        if name and (name not in there or sha256(folder / name) != known):
            what = f"{name} is not as it was saved" if name in there else f"{name} is missing"
            hint = f"save or copy the model again; if you changed it yourself, remove {folder / NAME}"
            raise ConfigError(f"the saved model is damaged: {what}", where=str(folder), hint=hint)
