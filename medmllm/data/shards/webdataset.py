"""Tars of WebDataset's layout that somebody else wrote: `KEY.jpg` beside `KEY.json` or `KEY.txt`.

They are read where they lie. Their headers are scanned once, and where each member begins is written beside the tar, as
it is beside those of `exgra data shard`.
"""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from medmllm.data.formats import Reading, Wanted, raise_all
from medmllm.data.formats.layouts import TABLE
from medmllm.data.formats.llava import is_llava
from medmllm.data.formats.registry import take_rows
from medmllm.data.records import Record
from medmllm.data.shards.card import write_card
from medmllm.data.shards.index import NAME, Index, Shard
from medmllm.errors import ConfigError, DataError

OFFSETS = ".offsets.npy"
PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "jp2")
IMAGES = (*PICTURES, "dcm", "dicom", "ima", "nii", "nii.gz", "nrrd", "mha")
TEXTS = ("json", "txt")
SPOKEN = ("question", "answer", "caption", "text")  # one of which a row without a conversation has
_LATER = {"answer_type", "topic", "image_place", "caption_missing", "further", "marks"}  # that older shards lack
OURS = {field.name for field in fields(Record)} - _LATER  # in a record that `exgra data shard` wrote
CHUNK = 2**20
Member = tuple[int, int]  # where its content begins, and how many bytes it has


def index_tars(
    folder: Path,
    *,
    incomplete: Literal["error", "skip"] = "error",
    heard: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Index, int]:
    """Write `index.json` and the offsets beside every tar of a folder; the tars stay as they are.

    Cost: one read of 512 bytes for each member.

    Args:
        folder: holds tars, none of them compressed.
        incomplete: what a sample without an image, or without `json` and `txt`, does: stop, or be left out and counted.
        heard: called with the number of finished tars, and of all.

    Returns:
        The index, and how many samples were left out.

    Raises:
        ConfigError: there is an index already. DataError: no tar, or one that cannot be read to its end, that has two
            neighbours of one name, or no whole sample.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", where=str(folder), hint="name the folder that holds the tars")
    tars = sorted(folder.glob("*.tar"))
    if (folder / NAME).exists():
        raise ConfigError(
            f"{folder} has an index already", where=str(folder / NAME), hint="remove it to have another one made"
        )
    if not tars:
        raise DataError("the folder holds no tar", where=str(folder), hint="its files must be called *.tar")
    shards, left_out = [], 0
    for number, path in enumerate(tars, 1):
        lines, lacking = scan(path)
        if lacking and incomplete == "error":
            what = f"samples without an image or a text: {len(lacking)}; the first is {lacking[0]}"
            raise DataError(what, where=str(path), hint="--incomplete skip leaves them out")
        left_out += len(lacking)
        if lines:
            np.save(folder / (path.name + OFFSETS), even_table(lines))
            shards.append(Shard(path.name, len(lines)))
        heard(number, len(tars))
    if not shards:
        raise DataError("no sample has an image and a text", where=str(folder), hint="KEY.jpg beside KEY.json or .txt")
    found = Index(folder, "tar", tuple(shards))
    found.save()
    write_card(folder, "tar")
    return found, left_out


def even_table(lines: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Offsets and sizes of samples, those with fewer images filled up with zeros."""
    longest = max(map(len, lines))
    return np.array([[*line, *[0] * (longest - len(line))] for line in lines], dtype=np.int64)


def scan(path: Path) -> tuple[list[list[int]], list[str]]:
    """Of each whole sample of a tar offset and size of `json`, image, `txt` and further images, 0 where absent; the
    keys of others."""
    lines, lacking = [], []
    try:
        for key, members in _samples(path):
            images = _images(members)
            texts = [members.get(kind, (0, 0)) for kind in TEXTS]
            if not images or not any(size for _, size in texts):
                lacking.append(key)
            else:
                further = (number for image in images[1:] for number in image)
                lines.append([*texts[0], *images[0], *texts[1], *further])
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"the tar cannot be read ({error})", where=str(path), hint="copy it again; compressed tars must be unpacked"
        ) from error
    return lines, lacking


def _images(members: dict[str, Member]) -> list[Member]:
    """A sample's image; or its images, as `KEY.0.jpg`, `KEY.1.jpg`."""
    for kind in IMAGES:
        if kind in members:
            return [members[kind]]
    numbered = {name: name.partition(".") for name in members}
    found = {int(first): name for name, (first, _, kind) in numbered.items() if first.isdecimal() and kind in IMAGES}
    return [members[found[number]] for number in sorted(found)]


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Member]]]:
    """Neighbouring members of one key, by their endings."""
    with tarfile.open(path, "r:") as tar:
        files = ((*_key(member.name), (member.offset_data, member.size)) for member in tar if _counts(member))
        for key, group in groupby(files, key=lambda found: found[0]):
            yield key, _by_kind(path, key, group)
        _check_end(tar)


def _by_kind(path: Path, key: str, group: Iterable[tuple[str, str, Member]]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for _, kind, place in group:
        if kind in found:
            what = f"two neighbours are called {key}.{kind}"
            raise DataError(what, where=str(path), hint="write the tar again with a name of its own for each sample")
        found[kind] = place
    return found


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise where more follows than the zeros that end a tar: tarfile takes a broken header for the end."""
    file = cast(BinaryIO, tar.fileobj)
    file.seek(tar.offset)
    while block := file.read(CHUNK):
        if any(block):
            raise tarfile.ReadError(f"from byte {tar.offset} on it does not hold a member")


def _counts(member: tarfile.TarInfo) -> bool:
    """Whether it is a plain file, and not one that an operating system has hidden there."""
    if member.issparse():
        raise tarfile.ReadError(f"{member.name} is sparse: parts of it are left out")
    return member.isreg() and not posixpath.basename(member.name).startswith(".")


def _key(name: str) -> tuple[str, str]:
    """A member's name up to the first dot behind its folders, and what comes after that."""
    folder, base = posixpath.split(name)
    stem, _, kind = base.partition(".")
    return posixpath.join(folder, stem), kind.lower()


def record_of(path: Path, row: int, own: bytes, text: bytes, images: int = 1) -> dict[str, Any]:
    """The fields of a sample's record: LLaVA's conversation, a question with its answer, a caption, or one of ours.

    Args:
        path: the tar.
        row: number of the sample in it, from 0.
        own: content of its `json`; empty where it has none.
        text: content of its `txt`, a caption; read where the JSON says nothing.
        images: how many it has.

    Raises:
        DataError: what is wrong with the sample.
    """
    reading = Reading(path, path.parent, wanted=Wanted(allow_outside=True))
    found = _object(reading, row, own)
    if found.keys() >= OURS:
        return found
    if not is_llava(found) and not any(found.get(name) for name in SPOKEN):
        found |= {"caption": text.decode("utf-8", errors="replace").strip()}
    place = f"{path.name}/{row + 1}"
    names = place if images == 1 else [f"{place}/{number}" for number in range(images)]
    named = {"id": f"{path.stem}-{row + 1}", "image": names}
    whole = named | {name: value for name, value in found.items() if value not in (None, "")}
    if not reading.problems:
        take_rows(reading, None if is_llava(whole) else TABLE, [(row + 1, whole)])
    raise_all(reading.problems)
    return asdict(reading.records[0])


def _object(reading: Reading, row: int, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        reading.report(row + 1, "", f"its JSON cannot be read ({error})")
        return {}
    return found if isinstance(found, dict) else {}
