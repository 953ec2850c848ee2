"""From a configuration to its data set: the one inside the package, a prepared one, or a user's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from medmllm.data.cache import remembered
from medmllm.data.catalog import EMBEDDED, NAMES, REGISTRY, SLICES, catalog_entry
from medmllm.data.config import DataConfig
from medmllm.data.embedded_source import EMBEDDED_FOLDER, SLICES_FOLDER, EmbeddedSource
from medmllm.data.file_source import FileSource
from medmllm.data.formats import FORMATS, raise_all
from medmllm.data.formats.registry import ENDINGS, suggestion
from medmllm.data.pairs import Accepted, accepted_pairs
from medmllm.data.prepare_named import download_lines, registry_folder
from medmllm.data.records import Record, each_image
from medmllm.data.shards.index import NAME as INDEX
from medmllm.data.shards.source import ShardSource
from medmllm.data.slicing import Slices
from medmllm.data.source import Source
from medmllm.errors import ConfigError, DataError, command_line, quoted

__all__ = ["EmbeddedSource", "FileSource", "Source", "check_source", "open_source", "usable"]


def open_source(config: DataConfig, *, strict: bool = True, trained: bool = True) -> Source:
    """Open the data set that a configuration names.

    Args:
        config: names the data set, the share of its training records, and what its paths may do.
        strict: raise for faulty rows, or leave them out with `data.on_bad_sample=skip`; else they are reported in
            `Source.problems`.
        trained: whether its training rows are trained on; else rows of no named split are for testing.

    Raises:
        DataError: the file is missing, or it has problems (all are reported).
    """
    _check_pairs(config)
    if config.source == EMBEDDED:
        return EmbeddedSource(fraction=config.fraction)
    if config.source == SLICES:
        return EmbeddedSource(SLICES_FOLDER, fraction=config.fraction, pictures=EMBEDDED_FOLDER)
    if config.source == REGISTRY:
        return EmbeddedSource(_made(), fraction=config.fraction)
    if (Path(config.source).expanduser() / INDEX).is_file():
        return _shards(config)
    known = remembered().get(config.source) if config.source in NAMES else None
    images = config.images or (known["images"] if known else None)
    source = FileSource(
        _existing(known["path"] if known else config.source),
        images=None if images is None else Path(images),
        validation=None if config.validation is None else _existing(config.validation),
        test=None if config.test is None else _existing(config.test),
        fraction=config.fraction,
        allow_outside=config.allow_outside,
        window=config.window,
        slices=Slices(config.slices, config.volume, config.positions),
        language=config.language,
        trained=trained,
        skip_faulty=strict and config.on_bad_sample == "skip",
        image_columns=config.image_columns,
        text_only=config.text_only,
        accepted=_accepted(config),
    )
    if strict:
        raise_all(source.problems)
    return source


def check_source(name: str) -> None:
    """Make sure that a data set of this name, or a file or folder, is here; nothing of it is read.

    Raises:
        DataError: it is not; the hint says how to get it, or which name is near.
    """
    if name == REGISTRY:
        _made()
    elif name not in (EMBEDDED, SLICES):
        known = remembered().get(name) if name in NAMES else None
        _existing(known["path"] if known else name)


def _check_pairs(config: DataConfig) -> None:
    """Refuse pairs without captions or the other way round, and pairs for data that has captions or is not held."""
    if (config.pairs is None) != (config.captions is None):
        key, needed = ("captions", "captions") if config.captions is None else ("pairs", "pairs")
        raise ConfigError(f"pairs and captions belong together: data.{needed} is missing", where=f"data.{key}")
    shards = (Path(config.source).expanduser() / INDEX).is_file()
    if config.pairs is not None and (shards or config.source in (EMBEDDED, SLICES, REGISTRY)):
        raise ConfigError(
            "pairs give captions to the rows of a data file alone",
            where="data.pairs",
            hint="name a file or a folder in data.source",
        )


def _accepted(config: DataConfig) -> Accepted:
    if config.pairs is None or config.captions is None:
        return Accepted()
    return accepted_pairs(Path(config.pairs), Path(config.captions), config.min_confidence)


def _shards(config: DataConfig) -> ShardSource:
    """Shards to train on; what is held out must be named, as none of them is read before training."""
    if config.validation is None or config.fraction < 1:
        key, value = ("validation", "FILE") if config.validation is None else ("fraction", "1")
        raise ConfigError(
            "shards are trained on whole, and validated on another file",
            where=f"data.{key}",
            hint=f"data.{key}={value}",
        )
    path, test = _existing(config.validation), None if config.test is None else _existing(config.test)
    held = FileSource(
        path,
        validation=path,
        test=test,
        allow_outside=config.allow_outside,
        window=config.window,
        language=config.language,
        trained=False,
    )
    raise_all(held.problems)
    if config.slices != 1:
        hint = "exgra data shard --slices, when they are written"
        raise ConfigError(
            "shards hold the slices that were chosen when they were written", where="data.slices", hint=hint
        )
    return ShardSource(Path(config.source).expanduser(), held, config.window)


def usable(source: Source, records: Iterable[Record]) -> tuple[tuple[Record, ...], list[tuple[str, str]]]:
    """Sort out the records with an image that cannot be read; every image is opened once.

    Returns:
        The records with sound images in their order, and `(id, reason)` of each of the others.
    """
    reasons: dict[tuple[str, str], str] = {}
    kept: list[Record] = []
    skipped: list[tuple[str, str]] = []
    for record in records:
        for one in each_image([record]):
            key = (record.split, one.image)
            if key not in reasons:
                reasons[key] = _reason(source, one)
        fault = next((found for name in record.images if (found := reasons[record.split, name])), "")
        if fault:
            skipped.append((record.id, fault))
        else:
            kept.append(record)
    return tuple(kept), skipped


def _reason(source: Source, record: Record) -> str:
    try:
        source.image(record)
    except DataError as error:
        return f"{error.where}: {error.message}"
    return ""


def _made() -> Path:
    folder = registry_folder()
    if not any(folder.glob("*.zip")):
        raise DataError("the data set is not made yet", where=str(folder), hint="exgra data prepare registry")
    return folder


def _existing(name: str) -> Path:
    found = catalog_entry(name)
    if found is not None:
        raise DataError(f"{name} is not prepared yet", where=name, hint=f"fetch it with\n{download_lines(found)}")
    path = Path(name).expanduser()
    if path.suffix == ".tar" and path.is_file():
        index, source = command_line("data", "index", path.parent), quoted(f"data.source={path.parent}")
        hint = f"{index}; then {source} data.validation=FILE"
        raise DataError("a tar is streamed with those beside it, by an index of their folder", where=name, hint=hint)
    if path.is_file() or path.is_dir():
        return path
    near = suggestion(path, NAMES)
    near = near if near in ("", *NAMES) else str(path.with_name(near))
    known = f"a file ({', '.join(ENDINGS)}) or a folder in one of the formats {', '.join(FORMATS)}"
    hint = f"did you mean {near}?" if near else f"give `embedded`, or {known}"
    what = "is neither a file nor a folder" if os.path.lexists(path) else "does not exist"
    if not path.parent.is_dir():
        what, hint = f"{what}, nor its folder {path.parent}", (near and hint) or "check the path"
    raise DataError(f"the data file {what}", where=str(path), hint=hint)
