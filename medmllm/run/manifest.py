"""The manifest of a checkpoint: its files with size and SHA-256, and where in them each tensor lies.

It is written last and sealed with a hash of its own, so a checkpoint with a sound manifest is whole. It is plain JSON.
Torch's own index, a pickle, which could run any program, is never read: no checkpoint runs anything, whoever made it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    STORAGE_TYPES,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

NAME = "manifest.json"
INDEX = ".metadata"  # torch's own, for torch's own tools; nothing here reads it
VERSION = 1
PIECE, PAUSE = 2**18, 0.002  # bytes read at once of a file that grows, and seconds until the next look
LARGEST = 2**28  # bytes of a manifest; one of a 7B model has less than 2**20
Files = dict[str, dict[str, Any]]


class DamagedError(ValueError):
    """A checkpoint is not as it was written; the message says how, as the end of a sentence."""


class Reader(FileSystemReader):
    """Reads tensors by a manifest that was checked before."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        super().__init__(path)
        self.manifest = manifest

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return _metadata(self.manifest)


def write(folder: Path, step: int, files: Files, metadata: Metadata) -> None:
    """Write and sync the manifest of a checkpoint whose other files are on the disk."""
    manifest = {"version": VERSION, "step": step, "files": files, "tensors": _tensors(metadata)}
    text = json.dumps({**manifest, "seal": _seal(manifest)}, indent=1)
    with (folder / NAME).open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        DamagedError: there is none, or it is not as it was written, or that of another step.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise DamagedError(f"{NAME} has more than {LARGEST:,} bytes")
        manifest = json.loads(path.read_bytes())
        sealed = manifest.pop("seal") == _seal(manifest)
    except FileNotFoundError:
        if (folder / INDEX).exists():
            earlier = "earlier builds of ExGra wrote none; finish their runs with the build in environment.json"
            raise DamagedError(f"it has no {NAME} ({earlier})") from None
        raise DamagedError(f"it has no {NAME}") from None
    except DamagedError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{NAME} cannot be read ({type(error).__name__})") from None
    if not sealed or manifest.get("version") != VERSION:
        raise DamagedError(f"{NAME} is not as it was written, or of another version of ExGra")
    if folder.name != f"step-{manifest['step']:08d}":
        raise DamagedError(f"{NAME} is that of step {manifest['step']}")
    return dict(manifest)


class Hashing:
    """Computes the SHA-256 of a file that is being written from its start to its end, on a thread beside the writer.

    Hashing afterwards costs half a second a gigabyte; beside the writer and the disk it costs next to nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._over = path, threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Hashing:
        self._done = self._pool.submit(self._follow)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._pool.shutdown(wait=False)

    def of(self, path: Path) -> str:
        """The SHA-256 of a file that is complete; of the one that was followed it is known already."""
        size, known = self._done.result() if path == self.path else (-1, "")
        return known if size == path.stat().st_size else sha256(path)

    def _follow(self) -> tuple[int, str]:
        """How many bytes were hashed, and their SHA-256."""
        digest, size, room = hashlib.sha256(), 0, memoryview(bytearray(PIECE))
        while not self.path.exists():
            if self._over.wait(PAUSE):
                return -1, ""
        with self.path.open("rb", buffering=0) as file:
            while True:
                over = self._over.is_set()
                if count := file.readinto(room):
                    digest.update(room[:count])
                    size += count
                elif over:
                    return size, digest.hexdigest()
                else:
                    self._over.wait(PAUSE)


def sync(files: Iterable[Path], hashing: Hashing | None = None) -> Files:
    """Bring files onto the disk; their sizes and SHA-256, which are computed while the disk writes."""
    found = {}
    with ThreadPoolExecutor(1) as pool:
        for path in files:
            hashed = pool.submit(hashing.of if hashing else sha256, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            found[path.name] = {"bytes": path.stat().st_size, "sha256": hashed.result()}
    return found


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def check(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare files with their entries in the manifest.

    Raises:
        DamagedError: one is missing, or not as it was written.
    """
    for name, entry in files.items():
        path = folder / name
        if PurePath(name).name != name or not path.is_file():
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != entry["bytes"]:
            raise DamagedError(f"{name} has {path.stat().st_size:,} bytes instead of {entry['bytes']:,}")
        if sha256(path) != entry["sha256"]:
            raise DamagedError(f"{name} is not as it was written")


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _tensors(metadata: Metadata) -> dict[str, Any]:
    """Torch's index of a checkpoint as plain values: of each tensor dtype, size and the pieces that it is stored in."""
    places = {(index.fqn, tuple(index.offset or ())): place for index, place in metadata.storage_data.items()}
    found = {}
    for name, tensor in metadata.state_dict_metadata.items():
        assert isinstance(tensor, TensorStorageMetadata)
        pieces = []
        for chunk in tensor.chunks:
            place = places[name, tuple(chunk.offsets)]
            where = {"file": place.relative_path, "start": place.offset, "bytes": place.length}
            pieces.append({"offsets": list(chunk.offsets), "sizes": list(chunk.sizes), **where})
        dtype = str(tensor.properties.dtype).removeprefix("torch.")
        found[name] = {"dtype": dtype, "size": list(tensor.size), "pieces": pieces}
    return found


def _metadata(manifest: Mapping[str, Any]) -> Metadata:
    """The inverse of `_tensors`; pieces in files that the manifest does not list are refused."""
    tensors: dict[str, STORAGE_TYPES] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    try:
        for name, entry in manifest["tensors"].items():
            dtype = getattr(torch, entry["dtype"])
            if not isinstance(dtype, torch.dtype):
                raise TypeError(entry["dtype"])
            chunks = []
            for piece in entry["pieces"]:
                if piece["file"] not in manifest["files"]:
                    raise DamagedError(f"{name} lies in {piece['file']}, which is not listed")
                offsets = torch.Size(piece["offsets"])
                chunks.append(ChunkStorageMetadata(offsets, torch.Size(piece["sizes"])))
                places[MetadataIndex(name, offsets)] = _StorageInfo(piece["file"], piece["start"], piece["bytes"])
            size = torch.Size(entry["size"])
            if size.numel() != sum(chunk.sizes.numel() for chunk in chunks):
                raise DamagedError(f"the pieces of {name} do not make up its size")
            tensors[name] = TensorStorageMetadata(TensorProperties(dtype), size, chunks)
    except (LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{NAME} lists tensors in a way that cannot be read ({type(error).__name__})") from None
    return Metadata(tensors, storage_data=places, storage_meta=StorageMeta())
