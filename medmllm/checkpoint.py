"""Checkpoints that a kill at any moment leaves whole: written aside, synced, then moved into place."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import torch

from medmllm.errors import RunError

KEEP = 2  # the newest, and the one before it should the newest be damaged


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


def newest(folder: Path) -> dict[str, Any] | None:
    """The state to resume from, on the CPU, or None where nothing was saved.

    Only tensors and plain values are unpickled. A checkpoint that cannot be read is passed over for the one before.

    Raises:
        RunError: there are checkpoints, and none can be read.
    """
    saved = _steps(folder)
    for path in reversed(saved):
        try:
            return torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, struct.error):
            continue
    if saved:
        raise RunError("No checkpoint can be read.", where=str(folder), hint="remove them to start from the beginning")
    return None


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
