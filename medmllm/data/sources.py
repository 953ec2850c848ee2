"""Where records and images come from: the data set inside the package, or a user's LLaVA-style file."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image

from medmllm.config import DataConfig
from medmllm.data.formats import DataProblem, Reading, raise_all, read_llava
from medmllm.data.images import decode, locate
from medmllm.data.records import Record
from medmllm.errors import ConfigError, DataError

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
_SPLITS = ("train", "validation", "test", "test_slab")
_HELD_OUT = 0.1  # share of the images that a file without a validation file gives up
_REINSTALL = "the package is damaged; install it again"
T = TypeVar("T")


class Source(Protocol):
    """A data set: records by split, and their images."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that the source has."""

    @property
    def attribution(self) -> str:
        """Where the data's origin and licence are written down."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was put right or looks odd, one line each."""

    def records(self, split: str) -> tuple[Record, ...]:
        """Records of a split in file order; of "train" only the configured share."""

    @property
    def problems(self) -> tuple[DataProblem, ...]:
        """What is wrong with the rows; empty unless the source was opened with `strict=False`."""

    def place(self, record: Record) -> tuple[str, int]:
        """Data file and row of a record; rows count from 1."""

    def image(self, record: Record) -> Image.Image:
        """The record's image: RGB, fully decoded. Raises DataError with file, row and remedy."""

    def files(self) -> list[dict[str, Any]]:
        """Data files: `path`, `bytes`, `sha256`, and `rows` in use by split."""


def open_source(config: DataConfig, *, strict: bool = True) -> Source:
    """Open the data set that a configuration names.

    Args:
        config: names the data set, the share of its training records, and what its paths may do.
        strict: raise for faulty rows; else they are left out and told in `Source.problems`.

    Raises:
        DataError: the file is missing, or it has problems (all of them are told).
    """
    if config.source == "embedded":
        return EmbeddedSource(fraction=config.fraction)
    source = JsonSource(
        _existing(config.source),
        validation=None if config.validation is None else _existing(config.validation),
        fraction=config.fraction,
        allow_outside=config.allow_outside,
    )
    if strict:
        raise_all(source.problems)
    return source


def usable(source: Source, records: Iterable[Record]) -> tuple[tuple[Record, ...], list[tuple[str, str]]]:
    """Sort out the records whose image cannot be read; every image is opened once.

    Returns:
        The records with a sound image in their order, and `(id, reason)` of each of the others.
    """
    reasons: dict[tuple[str, str], str] = {}
    kept: list[Record] = []
    skipped: list[tuple[str, str]] = []
    for record in records:
        key = (record.split, record.image)
        if key not in reasons:
            reasons[key] = _reason(source, record)
        if reasons[key]:
            skipped.append((record.id, reasons[key]))
        else:
            kept.append(record)
    return tuple(kept), skipped


def share(items: Sequence[T], fraction: float, *, salt: str, key: Callable[[T], str]) -> tuple[T, ...]:
    """A seeded share of the items, in their order; smaller shares lie inside larger ones.

    Items are ranked by the SHA-256 of salt and key, and the first $\\max(1, \\lceil f n \\rceil)$ are kept.
    So the choice depends on the keys alone: not on order, machine or Python version. $O(n \\log n)$.
    """
    if fraction >= 1 or not items:
        return tuple(items)

    def rank(item: T) -> tuple[bytes, str]:
        return hashlib.sha256(f"{salt}\n{key(item)}".encode()).digest(), key(item)

    # the tolerance keeps 0.1 * 30 = 3.0000000000000004 from becoming 4
    count = max(1, math.ceil(fraction * len(items) - 1e-9))
    chosen = {key(item) for item in sorted(items, key=rank)[:count]}
    return tuple(item for item in items if key(item) in chosen)


class EmbeddedSource:
    """The data set that ships inside the package: one zip archive a split, read in place.

    Archives are opened when first needed, and again in every process, since a forked file position is shared.

    Args:
        folder: holds `<split>.zip` with `records.jsonl` and the images.
        fraction: share of the training records.
    """

    warnings: tuple[str, ...] = ()
    problems: tuple[DataProblem, ...] = ()

    def __init__(self, folder: Path = EMBEDDED_FOLDER, *, fraction: float = 1.0) -> None:
        found = {path.stem for path in folder.glob("*.zip")}
        if not found:
            raise DataError("the embedded data set is missing", where=str(folder), hint=_REINSTALL)
        self.folder, self.fraction = folder, fraction
        self.splits = (*(name for name in _SPLITS if name in found), *sorted(found.difference(_SPLITS)))
        self.attribution = f"{folder.name}/ATTRIBUTION.md"
        self._archives: dict[tuple[int, str], zipfile.ZipFile] = {}
        self._records: dict[str, tuple[Record, ...]] = {}
        self._rows: dict[tuple[str, str], int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_archives": {}}  # open archives do not travel to another process

    def records(self, split: str) -> tuple[Record, ...]:
        if split not in self._records:
            rows = self._read_rows(_known(split, self.splits))
            self._rows |= {(split, record.id): number for number, record in enumerate(rows, start=1)}
            self._records[split] = _train_share(rows, self.fraction) if split == "train" else rows
        return self._records[split]

    def place(self, record: Record) -> tuple[str, int]:
        self.records(record.split)
        return self._name(record.split), self._rows[record.split, record.id]

    def image(self, record: Record) -> Image.Image:
        where = _where(self, record)
        return decode(self._member(record.split, record.image, where), where=where)

    def files(self) -> list[dict[str, Any]]:
        names = {split: self._name(split) for split in self.splits}
        return [_file(self.folder.parent / name, name, {s: len(self.records(s))}) for s, name in names.items()]

    def _name(self, split: str) -> str:
        return f"{self.folder.name}/{split}.zip"

    def _read_rows(self, split: str) -> tuple[Record, ...]:
        where = f"{self._name(split)}: records.jsonl"
        content = self._member(split, "records.jsonl", where)
        try:
            return tuple(_record(line) for line in content.split(b"\n") if line.strip())
        except (ValueError, TypeError, KeyError) as cause:
            raise DataError(f"the records cannot be read ({cause})", where=where, hint=_REINSTALL) from cause

    def _member(self, split: str, name: str, where: str) -> bytes:
        try:
            return self._archive(split).read(name)
        except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as cause:
            raise DataError(f"the archive cannot be read ({cause})", where=where, hint=_REINSTALL) from cause

    def _archive(self, split: str) -> zipfile.ZipFile:
        key = os.getpid(), split
        if key not in self._archives:
            self._archives[key] = zipfile.ZipFile(self.folder / f"{split}.zip")
        return self._archives[key]


class JsonSource:
    """A LLaVA-style JSON or JSON Lines file with images beside it.

    With a validation file, that file is both "validation" and "test". Without one, a seeded tenth of the subjects
    (of the images, where rows name no subject) is held out and serves as both; no image stands on two sides.

    Args:
        path: data file; image paths are relative to its folder.
        validation: second file, read the same way.
        fraction: share of the training records, taken after the held-out ones have left.
        allow_outside: let image paths leave the folder.

    Attributes:
        problems: what is wrong with the rows; the sound rows can be read all the same.
    """

    attribution = "the file's owner states origin and licence"

    def __init__(
        self, path: Path, *, validation: Path | None = None, fraction: float = 1.0, allow_outside: bool = False
    ) -> None:
        self.path, self.validation, self.allow_outside = path, validation, allow_outside
        self.splits = _SPLITS[:3]
        main = read_llava(path, allow_outside=allow_outside)
        other = main if validation is None else read_llava(validation, allow_outside=allow_outside)
        if validation is None:
            train, held = _hold_out(main)
        else:
            train, held = tuple(main.records), tuple(other.records)
        self.problems = (*main.problems, *(other.problems if other is not main else ()))
        self._records = {"train": _train_share(train, fraction)}
        self._records |= {split: tuple(replace(r, split=split) for r in held) for split in self.splits[1:]}
        self._rows = {"train": main.rows, "validation": other.rows, "test": other.rows}
        lines = (*main.warnings, *other.warnings, *self._shared_images())
        self.warnings = tuple(dict.fromkeys(lines))

    def records(self, split: str) -> tuple[Record, ...]:
        return self._records[_known(split, self.splits)]

    def place(self, record: Record) -> tuple[str, int]:
        return str(self._file(record.split)), self._rows[record.split][record.id]

    def image(self, record: Record) -> Image.Image:
        path = self._file(record.split)
        where = _where(self, record)
        try:
            image = locate(path.parent, record.image, allow_outside=self.allow_outside)
        except ValueError as cause:
            raise DataError(
                str(cause), where=where, hint="set data.allow_outside=true if you trust the file"
            ) from cause
        return decode(image, where=where)

    def files(self) -> list[dict[str, Any]]:
        paths = dict.fromkeys((self.path, self.validation or self.path))
        counts = {split: len(self.records(split)) for split in self.splits}
        return [_file(p, str(p), {s: n for s, n in counts.items() if self._file(s) == p}) for p in paths]

    def _file(self, split: str) -> Path:
        return self.path if split == "train" or self.validation is None else self.validation

    def _shared_images(self) -> list[str]:
        images = [{self._file(s).parent.resolve() / r.image for r in self._records[s]} for s in ("train", "validation")]
        shared = len(images[0] & images[1])
        return [f"{shared} images stand in both training and validation"] if shared else []


def _train_share(records: tuple[Record, ...], fraction: float) -> tuple[Record, ...]:
    return share(records, fraction, salt="exgra train share", key=lambda record: record.id)


def _hold_out(reading: Reading) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Training and held-out records, parted by subject."""
    subjects = tuple(dict.fromkeys(record.subject for record in reading.records))
    if len(subjects) < 2 and not reading.problems:
        hint = "name a second file with data.validation=FILE"
        reading.report(None, "", "all rows show the same subject, so none can be held out for validation", hint)
    chosen = set(share(subjects, _HELD_OUT, salt="exgra held-out images", key=str))
    train = tuple(record for record in reading.records if record.subject not in chosen)
    return train, tuple(record for record in reading.records if record.subject in chosen)


def _record(line: bytes) -> Record:
    row = json.loads(line)
    return Record(**row | {"turns": tuple((question, answer) for question, answer in row["turns"])})


def _where(source: Source, record: Record) -> str:
    file, row = source.place(record)
    return f"{file}: row {row}, image {record.image}"


def _reason(source: Source, record: Record) -> str:
    try:
        source.image(record)
    except DataError as error:
        return f"{error.where}: {error.message}"
    return ""


def _known(split: str, splits: tuple[str, ...]) -> str:
    if split not in splits:
        near = difflib.get_close_matches(split, splits, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(splits)}"
        raise ConfigError(f"the data set has no split {split!r}", hint=hint)
    return split


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    siblings = [other.name for other in path.parent.glob("*.json*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, ["embedded", *siblings], n=1)
    what = "is a folder, not a data file" if path.is_dir() else "does not exist"
    hint = f"did you mean {near[0]}?" if near else "give `embedded`, or a LLaVA-style .json or .jsonl file"
    raise DataError(f"the data file {what}", where=str(path), hint=hint)


def _file(path: Path, name: str, rows: dict[str, int]) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": name, "bytes": path.stat().st_size, "sha256": digest, "rows": rows}
