"""A look at every image: can it be read, how deep is it, and what it is compared by."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from PIL import Image

from medmllm.data.doctor.scans import ScanLook
from medmllm.data.images import decode_any
from medmllm.data.pictures import is_deep
from medmllm.data.scans.address import address
from medmllm.data.scans.portable import portable
from medmllm.errors import DataError

SIDE = 16  # pixels of a thumbnail's side
_CHUNK = 64  # images that a process looks at in one go
_FEW = 1_500  # images that are not worth a second process
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """One image to look at: its name, its file or bytes, and how a scan is shown."""

    name: str
    content: bytes | Path
    window: str


@dataclass(frozen=True, slots=True)
class Look:
    """The findings on pictures.

    Attributes:
        fault: message and hint, where the image cannot be read.
        missing: whether the file is missing.
        digest: SHA-256 of the file, and of which slice or page of it is shown.
        thumbnail: grey, 16 x 16; empty where the image cannot be read.
        deep: more than eight bits a channel.
        scan: how a scan is shown; None of a picture.
    """

    fault: tuple[str, str] | None = None
    missing: bool = False
    digest: bytes = b""
    thumbnail: bytes = b""
    deep: bool = False
    scan: ScanLook | None = None


def look_at(asks: Iterable[Ask], *, count: int) -> Iterator[Look]:
    """Look at images in their order, with all processors where there are many."""
    workers = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if count < _FEW or workers < 2:
        yield from map(look, asks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for looks in in_order(pool, _look_all, chunks(asks), ahead=3 * workers):
            yield from looks


def chunks(items: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def in_order(pool: ProcessPoolExecutor, work: Callable[[S], T], items: Iterable[S], *, ahead: int) -> Iterator[T]:
    """Results in the items' order, with only so many items taken ahead: they hold bytes of images."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _look_all(asks: Sequence[Ask]) -> list[Look]:
    return [look(ask) for ask in asks]


def look(ask: Ask) -> Look:
    """Decode one image fully and keep what tells it from others.

    Raises:
        MissingExtraError: a scan, and its reader is not installed: the data is not at fault.
    """
    try:
        found = decode_any(ask.content, where=ask.name, name=ask.name, window=ask.window)
    except DataError as error:
        there = isinstance(ask.content, bytes) or os.path.exists(ask.content)
        return Look((error.message, error.hint), missing=not there)
    if isinstance(found, Image.Image):
        page = str(address(ask.name).index or 0)
        return Look(digest=_digest(ask.content, page), thumbnail=_thumbnail(found), deep=is_deep(ask.content))
    scan = ScanLook.of(found)
    content, part = ask.content, str(found.cut.facts["slice"])
    if isinstance(content, Path) and content.is_dir():
        content = portable(content, address(ask.name))[0]
    return Look(digest=_digest(content, part), thumbnail=_thumbnail(found.picture), scan=scan)


def _digest(content: bytes | Path, part: str) -> bytes:
    """What only equal parts of equal files share."""
    if isinstance(content, bytes):
        whole = hashlib.sha256(content).digest()
    else:
        with content.open("rb") as stream:
            whole = hashlib.file_digest(stream, "sha256").digest()
    return hashlib.sha256(whole + part.encode()).digest()


def _thumbnail(image: Image.Image) -> bytes:
    return image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L").tobytes()
