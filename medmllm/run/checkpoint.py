"""Checkpoints that a kill at any moment leaves whole, and that any number of processes takes up.

Every process writes its own shards by torch.distributed.checkpoint; the folder is written aside and moved into place.
Plain values lie beside them as `state.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from medmllm.errors import RunError

KEEP = 2  # the newest, and the one before it should the newest be damaged
PLAIN = "state.json"


def save(folder: Path, step: int, tensors: dict[str, Tensor], plain: dict[str, Any]) -> Path:
    """Writes the checkpoint of `step` and drops those older than the newest two. All processes call it together."""
    final, part = folder / f"step-{step:08d}", folder / ".part"
    first = not dist.is_initialized() or dist.get_rank() == 0
    try:
        if first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        with _quiet():
            state_dict_saver.save(tensors, checkpoint_id=_together(part))
        if first:
            _write(part / PLAIN, json.dumps({"step": step, **plain}))
            if not final.exists():
                os.replace(part, final)
            for old in steps(folder)[:-KEEP]:
                shutil.rmtree(old)
    finally:
        if first:
            shutil.rmtree(part, ignore_errors=True)
    return final


def load(folder: Path, like: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The newest checkpoint: its plain values and tensors, or None where nothing was saved.

    Tensors of names in `like` are loaded into those, whatever number of processes wrote them, and nothing else in the
    model is touched; others come as they were saved, sharded as their parameter is (`NAME:FIELD` belongs to `NAME`). A
    checkpoint that cannot be read is passed over for the one before.

    Raises:
        RunError: there are checkpoints, and none can be read.
    """
    saved = steps(folder)
    for path in reversed(saved):
        try:
            plain = json.loads((path / PLAIN).read_text("utf-8"))
            tensors = _room(path, like)
            with _quiet():
                state_dict_loader.load(tensors, checkpoint_id=path)
            return plain, tensors
        except (OSError, ValueError, RuntimeError, EOFError, CheckpointException):
            continue
    if saved:
        raise RunError("No checkpoint can be read.", where=str(folder), hint="remove them to start from the beginning")
    return None


def steps(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def _room(path: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tensor to load into for everything in the checkpoint."""
    found = FileSystemReader(path).read_metadata().state_dict_metadata
    missing = like.keys() - found.keys()
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)[0]}")
    room = dict(like)
    for name, meta in found.items():
        if name not in room and isinstance(meta, TensorStorageMetadata):
            room[name] = _like(like[name.rpartition(":")[0]], meta)
    return room


def _like(owner: Tensor, meta: TensorStorageMetadata) -> Tensor:
    """Room for what belongs to a parameter: sharded as that is; a count of steps, say, lies on its device."""
    dtype = meta.properties.dtype
    if owner.shape == meta.size:
        return torch.zeros_like(owner, dtype=dtype)
    return torch.zeros(meta.size, dtype=dtype, device=owner.device)


def _together(path: Path) -> Path:
    """The path, once the folder is there for all processes."""
    if dist.is_initialized():
        dist.barrier()
    return path


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.distributed.checkpoint warns that there is one process, and of its own deprecated calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
