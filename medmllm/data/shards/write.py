"""Writing a data set as shards."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from medmllm.data.captions.private import find_mark
from medmllm.data.images import scan_kind
from medmllm.data.records import Record, each_image
from medmllm.data.scans.address import SCAN_ENDINGS, address
from medmllm.data.scans.portable import portable
from medmllm.data.shards.card import write_card
from medmllm.data.shards.index import Index, Layout, Shard
from medmllm.data.shards.read import OPENS, members, parquet
from medmllm.data.shards.webdataset import OFFSETS, even_table
from medmllm.data.source import Source, place_of
from medmllm.errors import ConfigError, DataError

SAMPLES = 5000  # of a shard
GROUP = 500  # rows of a Parquet row group, which is read whole


def write_shards(
    source: Source,
    out: Path,
    *,
    split: str = "train",
    samples: int = SAMPLES,
    layout: Layout = "tar",
    heard: Callable[[int, int], None] = lambda done, total: None,
) -> Index:
    """Write a split as shards of `samples` samples; the folder is written aside and moved into place.

    Images are stored as they are where they are files or bytes; nothing is recoded. Those of private data are marked.
    Of a folder that is a DICOM series the file of the record's slice is stored. The index keeps the window that scans
    are shown in.

    Args:
        source: the data set.
        out: a new folder.
        split: which split.
        samples: samples of a shard; the last may have fewer.
        layout: `tar` (WebDataset's) or `parquet` (row groups of 500).
        heard: called with the number of written samples, and of all.

    Raises:
        ConfigError: the folder exists. DataError: an image cannot be read.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already, and nothing is overwritten", where="OUT", hint=f"use {out}-2")
    records, part = source.records(split), out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        shards: list[Shard] = []
        endings: set[str] = set()
        for number, first in zip(count(), range(0, len(records), samples), strict=False):
            chosen = records[first : first + samples]
            if layout == "tar":
                shards += _tar(source, chosen, part, number, endings)
            else:
                shards += _parquet(source, chosen, part, number)
            heard(first + len(chosen), len(records))
        if mark := find_mark(source):
            (part / "PRIVATE").write_text(f"{mark.why}: {mark.where}\n", encoding="utf-8")
        index = Index(part, layout, tuple(shards), source.window)
        index.save()
        write_card(part, layout, sorted(endings))
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return replace(index, folder=out)


def _content(source: Source, record: Record) -> tuple[bytes, str]:
    """The bytes of a record's image, and the name under which they are opened."""
    content, name = source.content(record), source.opens(record)
    if isinstance(content, bytes):
        return content, name
    try:
        if address(name).kind:
            return portable(content, address(name))
        return content.read_bytes(), name
    except OSError as error:
        hint = "correct the path, or remove the row"
        raise DataError(
            f"the image cannot be read ({error.strerror})", where=place_of(source, record), hint=hint
        ) from error
    except DataError as error:
        error.where = error.where or place_of(source, record)
        raise


def _tar(source: Source, records: Sequence[Record], folder: Path, number: int, endings: set[str]) -> Iterator[Shard]:
    """One tar file and its array of offsets; `endings` gets those of the images."""
    name, offsets, end = f"{number:06d}.tar", [], 0
    with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, record in enumerate(records):
            images = [_content(source, one) for one in each_image([record])]
            line = []
            files = list(_suffixed(images))
            endings |= {suffix for suffix, _ in files}
            for suffix, content in ((".json", _json(record, [opens for _, opens in images])), *files):
                header = tarfile.TarInfo(f"{number:06d}{row:06d}{suffix}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
                start, end = members(end, len(content))
                line += [start, len(content)]
            offsets.append([*line[:4], *((0, 0) if len(images) > 1 else ()), *line[4:]])
    np.save(folder / (name + OFFSETS), even_table(offsets))
    yield Shard(name, len(records))


def _suffixed(images: Sequence[tuple[bytes, str]]) -> Iterator[tuple[str, bytes]]:
    """Endings and contents of a sample's images; several are numbered."""
    for number, (content, opens) in enumerate(images):
        yield (f".{number}" if len(images) > 1 else "") + _ending(opens, content), content


def _parquet(source: Source, records: Sequence[Record], folder: Path, number: int) -> Iterator[Shard]:
    """One Parquet file; each of its row groups is a unit of reading."""
    import pyarrow as pa

    name = f"{number:06d}.parquet"
    several = any(len(record.images) != 1 for record in records)
    schema = pa.schema([("record", pa.string()), ("image", pa.list_(pa.binary()) if several else pa.binary())])
    with parquet().ParquetWriter(folder / name, schema) as writer:
        for group, first in enumerate(range(0, len(records), GROUP)):
            chosen = records[first : first + GROUP]
            images = [[_content(source, one) for one in each_image([record])] for record in chosen]
            opens = [[name for _, name in found] for found in images]
            contents = [[content for content, _ in found] for found in images]
            rows: dict[str, list[Any]] = {
                "record": [_json(record, names).decode() for record, names in zip(chosen, opens, strict=True)],
                "image": contents if several else [content for (content,) in contents],
            }
            writer.write_table(pa.table(rows, schema=schema), row_group_size=GROUP)
            yield Shard(name, len(chosen), group)


def _ending(name: str, content: bytes) -> str:
    """A member's ending, which says what it is without the record: `.img` where neither name nor content does."""
    path = address(name).path.lower()
    scan = next((ending for ending in SCAN_ENDINGS if path.endswith(ending)), "")
    return scan or (".dcm" if scan_kind(content) == "dicom" else Path(path).suffix or ".img")


def _json(record: Record, names: Sequence[str]) -> bytes:
    """The record, and the names under which its images are opened where those are others."""
    opens = {} if tuple(names) == record.images else {OPENS: names[0] if len(names) == 1 else names}
    rare = ("caption_missing", "further", "marks")  # left out where they say nothing
    own = {key: value for key, value in asdict(record).items() if key not in rare or value}
    return json.dumps(own | opens, ensure_ascii=False).encode()
