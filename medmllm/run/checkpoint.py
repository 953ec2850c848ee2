"""Checkpoints that a kill at any moment leaves whole, that show damage, and that any number of processes continues.

Every process writes its own shards by torch.distributed.checkpoint; the folder is written aside and moved into place.
Plain values are beside them as `state.json`, and `manifest.json` says what belongs to it; see `medmllm.run.manifest`.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from medmllm.distributed import gathered_objects, process, together, told_by_first
from medmllm.errors import RunError
from medmllm.run import manifest
from medmllm.run.manifest import DamagedError

KEEP = 2  # the newest, and the one before it should the newest be damaged
PLAIN = "state.json"
COPY = "copy-of-"


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: dict[str, Tensor],
    plain: dict[str, Any],
    *,
    copies: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the checkpoint of `step`, and then drop all but it and the one before. All processes call it together.

    Args:
        folder: of the checkpoints.
        step: steps done.
        tensors: weights and moments, whole or sharded.
        plain: values that JSON can hold.
        copies: files of the run as they are at this step, by name, from which lost ones can be rebuilt.

    Raises:
        OSError, RunError: it could not be written, in one of the processes; the older ones are as they were.
    """
    final, part, device = folder / folder_of_step(step), folder / ".part", _device(tensors)
    first = process().rank == 0
    try:
        with together(device):
            if first:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
        hashing = manifest.Hashing(part / f"__{process().rank}_0.distcp")
        with together(device), hashing, _without_crc(), _plain_failures():
            metadata = state_dict_saver.save(tensors, storage_writer=FileSystemWriter(part, sync_files=False))
        with together(device):
            own = manifest.sync(sorted(part.glob(f"__{process().rank}_*")), hashing)
        shards = {name: entry for found in gathered_objects(own) for name, entry in found.items()}
        with together(device):
            if first:
                small = {PLAIN: json.dumps({"step": step, **plain}).encode()}
                small |= {COPY + name: content for name, content in (copies or {}).items()}
                files = shards | manifest.sync([part / manifest.INDEX, *_written(part, small)])
                manifest.write(part, step, files, metadata)
                _put_in_place(part, final)
    finally:
        if first:
            shutil.rmtree(part, ignore_errors=True)
    return final


def load_checkpoint(
    folder: Path,
    like: dict[str, Tensor],
    *,
    belongs: Callable[[dict[str, Any]], None] = lambda plain: None,
    message: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The newest sound checkpoint: its plain values and tensors, or None where nothing was saved.

    Tensors of names in `like` are loaded into those, whatever number of processes wrote them, and nothing else in the
    model is touched; others come as they were saved, sharded as their parameter is (`NAME:FIELD` belongs to `NAME`). A
    checkpoint that is damaged in any way is passed over for the one before.

    Args:
        folder: of the checkpoints.
        like: what the model has.
        belongs: raises DamagedError for the plain values of a checkpoint of another run.
        message: is given a sentence for each checkpoint that is passed over.

    Raises:
        RunError: there are checkpoints, and none is sound.
    """
    saved, reason = told_by_first(steps(folder)), ""
    for path in reversed(saved):
        try:
            return _load(path, like, belongs)
        except Exception as error:  # damaged files raise nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        message(f"the checkpoint {path.name} cannot be used and is passed over: {reason}")
    if saved:
        raise RunError(
            f"no checkpoint can be used: {reason}",
            where=str(folder),
            hint="put a copy of them back, or remove them and start from the beginning with --resume",
        )
    return None


def folder_of_step(step: int) -> str:
    """The folder name of the checkpoint of a step."""
    return f"step-{step:08d}"


def steps(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def read_copies(path: Path) -> dict[str, bytes]:
    """The copies of the run's files that a checkpoint holds, by name; without those that are damaged."""
    found = {}
    with suppress(DamagedError, OSError):
        for name, entry in manifest.read(path)["files"].items():
            with suppress(DamagedError):
                if name.startswith(COPY):
                    manifest.check(path, {name: entry})
                    found[name.removeprefix(COPY)] = (path / name).read_bytes()
    return found


def _load(
    path: Path, like: dict[str, Tensor], belongs: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint, checked before it is loaded, in all processes or in none; each checks its share of the files."""
    device = _device(like)
    with together(device):
        listing = manifest.read(path)
        shares = sorted(listing["files"].items())[process().rank :: process().world]
        manifest.check(path, dict(shares))
        plain = json.loads((path / PLAIN).read_bytes())
        belongs(plain)
        reader = manifest.Reader(path, listing)
        tensors = _room(reader, like)
    with together(device), _plain_failures():
        state_dict_loader.load(tensors, storage_reader=reader)
    return plain, tensors


def _room(reader: manifest.Reader, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tensor to load into for everything in the checkpoint."""
    found = reader.read_metadata().state_dict_metadata
    missing = like.keys() - found.keys()
    if missing:
        raise DamagedError(f"it lacks {min(missing)}")
    room = dict(like)
    for name, meta in found.items():
        if name not in room and isinstance(meta, TensorStorageMetadata):
            owner = like.get(name.rpartition(":")[0])
            if owner is None or meta.size.numel() > max(1, owner.numel()):
                raise DamagedError(f"{name} belongs to nothing in the model")
            room[name] = _like(owner, meta.size, meta.properties.dtype)
    return room


def _like(owner: Tensor, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """Room for what belongs to a parameter: sharded as that is; a count of steps, say, lies on its device."""
    if owner.shape == size:
        return torch.zeros_like(owner, dtype=dtype)
    return torch.zeros(size, dtype=dtype, device=owner.device)


def _written(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write small files; their paths."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def _put_in_place(part: Path, final: Path) -> None:
    """Move a whole checkpoint to its name, and drop what is older than the one before it, or was passed over."""
    if final.exists():
        shutil.rmtree(final)
    os.replace(part, final)
    manifest.sync_folder(final.parent)
    saved = steps(final.parent)
    kept = [path for path in saved if path.name <= final.name][-KEEP:]
    for path in saved:
        if path not in kept:
            shutil.rmtree(path)


def _device(tensors: Mapping[str, Tensor]) -> torch.device:
    return next(iter(tensors.values())).device


@contextmanager
def _without_crc() -> Iterator[None]:
    """Leave out the CRC-32 of each tensor, which no reader looks at; its time is a third of that of SHA-256."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


@contextmanager
def _plain_failures() -> Iterator[None]:
    """Raise ordinary errors: torch.distributed.checkpoint raises a BaseException that hides the first.

    Its warnings about a single process and about its own deprecated calls are left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError)), causes[0]) from None
