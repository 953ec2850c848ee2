"""Preparing a data set by its name: making it, or checking and remembering what a person has downloaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medmllm.data.cache import cache_folder, remember
from medmllm.data.catalog import EMBEDDED, NAMES, REGISTRY, SLICES, Entry, catalog_entry
from medmllm.data.embedded_source import EMBEDDED_FOLDER, SLICES_FOLDER, EmbeddedSource
from medmllm.data.formats import Reading, Wanted, raise_all, read_data
from medmllm.data.records import Record
from medmllm.errors import ConfigError, DataError, did_you_mean

_LOOKED_FOR = 100  # images of a file; published sets miss some, but not all of the first


def prepare_data_set(
    name: str,
    given: Path | None,
    images: Path | None,
    archives: Path | None,
    say: Callable[[str], None],
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Make a data set ready for `data.source=NAME`.

    Args:
        name: one of the catalogue.
        given: what was downloaded; for sets that are neither inside nor made here.
        images: folder of the images, where it is not beside the data.
        archives: folder of the registry set's archives; in the cache folder if not given.
        say: called with the progress.
        allow_outside: let image paths leave the folder.

    Returns:
        `{"name", "path", "rows": {split: rows}, "known": whether the counts are a published edition's, or None}`;
        for "registry" what the archives hold; for others rows that were `left_out` and the counts of each edition that
        is `published`, both by split.

    Raises:
        ConfigError: no such name, or nothing given; the hint holds the download.
        DataError: the files have problems.
    """
    found = catalog_entry(name)
    if found is None:
        hint = did_you_mean(name, NAMES, "`exgra data list` shows them")
        raise ConfigError(f"there is no data set {name!r}", hint=hint)
    if name == EMBEDDED:
        return _inside(name, EmbeddedSource())
    if name == SLICES:
        return _inside(name, EmbeddedSource(SLICES_FOLDER, pictures=EMBEDDED_FOLDER))
    if name == REGISTRY:
        from medmllm.data.prepare.registry import prepare_registry

        manifest = prepare_registry(archives or cache_folder() / "archives", registry_folder(), say)
        return _inside(name, EmbeddedSource(registry_folder())) | {"originals": manifest["originals"]}
    return _downloaded(found, given, images, allow_outside)


def registry_folder() -> Path:
    """Where the large data set lies once it is made."""
    return cache_folder() / REGISTRY


def download_lines(found: Entry) -> str:
    """How to fetch a data set, and what to do then."""
    lines = [*found.download, f"exgra data prepare {found.name} --from FOLDER  # {found.give}"]
    return "\n".join(lines)


def _inside(name: str, source: EmbeddedSource) -> dict[str, Any]:
    rows = {split: len(source.records(split)) for split in source.splits}
    return {"name": name, "path": str(source.folder), "rows": rows, "known": None}


def _downloaded(found: Entry, given: Path | None, images: Path | None, allow_outside: bool) -> dict[str, Any]:
    if given is None:
        hint = f"fetch it with\n{download_lines(found)}"
        raise ConfigError(f"{found.name} is not part of the package and has to be downloaded first", hint=hint)
    if not given.exists():
        raise DataError(
            "the file or folder does not exist", where=str(given), hint=f"fetch it with\n{download_lines(found)}"
        )
    readings = read_data(given, images=images, wanted=Wanted(allow_outside=allow_outside))
    raise_all([problem for reading in readings for problem in reading.problems])
    for reading in readings:
        if reading.records and not any(_there(reading, record) for record in reading.records[:_LOOKED_FOR]):
            hint = f"unpack the images, or name their folder with --images; --from takes {found.give}"
            message = f"the image {reading.records[0].image} does not exist, and no other was found"
            raise DataError(message, where=str(reading.path), hint=hint)
    rows = dict(Counter(record.split for reading in readings for record in reading.records))
    left_out = dict(Counter(reading.split for reading in readings for _ in reading.left_out))
    remember(found.name, given, images)
    told = {"name": found.name, "path": str(given), "rows": rows, "known": found.known(rows, left_out)}
    return told | {"left_out": left_out, "published": list(found.rows)}


def _there(reading: Reading, record: Record) -> bool:
    return reading.content is not None or (reading.folder / record.image).exists()
