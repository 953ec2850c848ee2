"""Checkpoints that a kill at any moment leaves whole: written aside, synced, then moved into place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

KEEP = 2  # the newest, and the one before it should the newest's disk block be bad


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes `state` as the checkpoint of `step` and drops those older than the newest two."""
    final, part = folder / f"step-{step:08d}", folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        with (part / "state.pt").open("wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        if not final.exists():
            os.replace(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in _steps(folder)[:-KEEP]:
        shutil.rmtree(old)
    return final


def newest(folder: Path) -> Path | None:
    """The checkpoint to resume from, or None."""
    found = _steps(folder)
    return found[-1] if found else None


def load(path: Path) -> dict[str, Any]:
    """The state saved there, on the CPU; only tensors and plain values are unpickled."""
    return torch.load(path / "state.pt", map_location="cpu", weights_only=True)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
