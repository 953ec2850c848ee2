"""Cutting a data file: a share of its rows, or training, validation and test rows, each row kept as it is."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from medmllm.data.catalog import NAMES
from medmllm.data.formats import Reading, Wanted, raise_all, read_file
from medmllm.data.formats.columns import COLUMNS, first, plain
from medmllm.data.formats.layouts import TABLE
from medmllm.data.formats.registry import raw_rows, suggestion
from medmllm.data.people import NOBODY, counted
from medmllm.data.records import Record
from medmllm.data.subset import rank, stratified
from medmllm.errors import ConfigError, DataError
from medmllm.run.aside import written_aside

STRATA: dict[str, Callable[[Record], str]] = {
    "kind": lambda record: record.kind,
    "answer": lambda record: record.answer,
    "modality": lambda record: record.modality,
    "none": lambda record: "",
}
_AS_JSON = {".pkl": ".json", ".txt": ".json"}  # endings of rows that are written in another form
ENGLISH = "en"
_MOVABLE = ("llava", TABLE.name)  # formats whose rows name the whole path of an image


def write_subset(
    path: Path,
    out: Path,
    fraction: float,
    *,
    seed: int = 0,
    by: str = "kind",
    allow_outside: bool = False,
    language: str = "en",
    on_warning: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write a seeded share of a file's rows.

    Args:
        path: a data file.
        out: file to write, of the same kind; must not exist.
        fraction: share of the rows; a smaller one of the same seed is part of a larger one.
        seed: which rows.
        by: what is kept in proportion, within one row: "kind", "answer", "modality", or "none".
        allow_outside: let image paths leave the folder.
        language: of the rows of a published set that has several, or "all".
        on_warning: called with what looks odd, and with rows that are left out.

    Returns:
        `{"rows", "of", "strata": {name: [rows, of]}, "file", "settings"}`; `settings` are what the new file is read
        with, beside its path, as KEY=VALUE.

    Raises:
        DataError: the file has problems.
        ConfigError: `out` exists, or cannot hold these rows.
    """
    reading = sound(path, allow_outside, language)
    for warning in reading.warnings:
        if on_warning is not None:
            on_warning(warning)
    stratum = STRATA[by]
    chosen = stratified(reading.records, fraction, salt=f"exgra subset {seed}", key=_id, stratum=stratum)
    write_rows(reading, out, chosen)
    held, whole = Counter(map(stratum, chosen)), Counter(map(stratum, reading.records))
    strata = {name: [held[name], whole[name]] for name in sorted(whole)}
    told = {"rows": len(chosen), "of": len(reading.records), "strata": strata, "file": str(out)}
    return told | {"settings": settings_for(reading, out)}


def settings_for(reading: Reading, out: Path) -> list[str]:
    """Settings that a file of these rows needs beside its path, so that their images are found: KEY=VALUE."""
    language = reading.wanted.language
    spoken = [] if language == ENGLISH else [f"data.language={language}"]
    if reading.content is not None or not _is_elsewhere(reading, out):
        return spoken
    if reading.format not in _MOVABLE or reading.path.suffix.lower() == ".parquet":
        return [f"data.images={reading.folder}", *spoken]
    inside = reading.folder.resolve().is_relative_to(out.parent.resolve())
    return spoken if inside else ["data.allow_outside=true", *spoken]


def write_split(
    path: Path,
    folder: Path,
    *,
    validation: float,
    test: float,
    seed: int = 0,
    allow_outside: bool = False,
    language: str = "en",
    on_warning: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write training, validation and test rows into files of their own; no person is on two sides.

    People (images, where rows name no person) come in a seeded order, and the first of them make up the test rows,
    the next the validation rows, as nearly as whole people can.

    Args:
        path: a data file.
        folder: where the files are written; made if it is not there.
        validation, test: shares of the rows.
        seed: which people.
        allow_outside: let image paths leave the folder.
        language: of the rows of a published set that has several, or "all".
        on_warning: called with what looks odd: columns that are not read, rows that name no person.

    Returns:
        `{split: {"rows", "subjects", "counted", "file", "settings"}}`; `counted` is "images" where no row names a
        person, `settings` as of `write_subset`.

    Raises:
        DataError: the file has problems, or too few people.
        ConfigError: the shares leave nothing to train on, or a file exists.
    """
    if not (validation >= 0 and test >= 0 and 0 < validation + test < 1):
        raise ConfigError("the shares of validation and test must add up to less than 1, and to more than 0")
    reading = sound(path, allow_outside, language)
    unit = counted(reading.records)
    for warning in (*reading.warnings, *([NOBODY] if unit == "images" else [])):
        if on_warning is not None:
            on_warning(warning)
    sides = split_people(reading.records, {"test": test, "validation": validation}, seed)
    wanted = [name for name, part in (("train", 1.0), ("validation", validation), ("test", test)) if part > 0]
    for name in wanted:
        if not sides.get(name):
            people = _people(reading.records)
            raise DataError(f"{people} {unit} are too few: none is left for {name}", where=str(path))
    ending = _AS_JSON.get(path.suffix.lower(), path.suffix)
    files = {name: folder / f"{name}{ending}" for name in wanted}
    for file in files.values():
        _check_name(reading, file)
    _make(folder)
    for name, file in files.items():
        write_rows(reading, file, sides[name], split=name)
    sizes = {name: {"rows": len(sides[name]), "subjects": _people(sides[name]), "counted": unit} for name in wanted}
    found = settings_for(reading, files["train"])
    return {name: {**sizes[name], "file": str(file), "settings": found} for name, file in files.items()}


def _people(records: Sequence[Record]) -> int:
    return len({record.subject for record in records})


def split_people(records: Sequence[Record], parts: dict[str, float], seed: int) -> dict[str, list[Record]]:
    """Records by side; each person's rows go where the middle of them falls when all people are in a seeded order."""
    sizes = Counter(record.subject for record in records)
    side: dict[str, str] = {}
    before = 0
    for subject in sorted(sizes, key=lambda name: rank(f"exgra split {seed}", name)):
        place, border = (before + sizes[subject] / 2) / len(records), 0.0
        before += sizes[subject]
        for name, part in parts.items():
            border += part
            if subject not in side and place < border:
                side[subject] = name
    sides: dict[str, list[Record]] = {}
    for record in records:
        sides.setdefault(side.get(record.subject, "train"), []).append(record)
    return sides


def write_rows(reading: Reading, out: Path, records: Collection[Record], *, split: str | None = None) -> None:
    """Write the raw rows behind some records, whole or not at all; image paths stay right from where `out` lies.

    With a split, rows that name one name this one.

    Raises:
        ConfigError: `out` exists, or cannot hold these rows.
    """
    writers = {".json": _json, ".jsonl": _json_lines, ".csv": _csv, ".tsv": _csv}
    _check_place(reading, out)
    numbers = {reading.rows[record.id] for record in records}
    raw = (row for number, row in raw_rows(Reading(reading.path, reading.folder)) if number in numbers)
    rows = (_in_split(moved_image(row, reading, out), split) for row in raw)
    with written_aside(out) as part:
        if out.suffix.lower() == ".parquet":
            _parquet(part, reading, numbers, split)
        elif reading.content is not None:
            _lines(part, reading, numbers)
        else:
            writers[out.suffix.lower()](part, reading, rows)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        message = f"the folder {folder} cannot be made ({cause.strerror or cause})"
        raise ConfigError(message, hint="choose another name") from cause


def _check_place(reading: Reading, out: Path) -> None:
    _check_name(reading, out)
    if not out.parent.is_dir():
        raise ConfigError(f"the folder {out.parent} does not exist", hint=f"mkdir -p {out.parent}")


def _check_name(reading: Reading, out: Path) -> None:
    ending, source = out.suffix.lower(), reading.path.suffix.lower()
    source = _AS_JSON.get(source, source)
    if ending != source and {ending, source} != {".json", ".jsonl"}:
        raise ConfigError(f"{out.name} must end with {source}, as rows are kept as they are", hint=f"NAME{source}")
    if out.exists():
        raise ConfigError(f"{out} exists already", hint="choose another name")


def _is_elsewhere(reading: Reading, out: Path) -> bool:
    return out.parent.resolve() != reading.folder.resolve()


def sound(path: Path, allow_outside: bool, language: str = "en") -> Reading:
    """Read one data file; its problems are raised."""
    if not path.is_file():
        raise _no_file(path)
    reading = read_file(path, wanted=Wanted(allow_outside=allow_outside, language=language))
    raise_all(reading.problems)
    return reading


def _no_file(path: Path) -> DataError:
    """The error about a path that is not one data file."""
    if path.is_dir():
        return DataError("this is a folder, not a data file", where=str(path), hint="give one file of it")
    near = suggestion(path, ())
    hint = f"did you mean {path.with_name(near)}?" if near else "check the path"
    if str(path) in NAMES:
        hint = "give the path of a data file; names of `exgra data list` are not read here"
    what = "the data file does not exist"
    what += "" if path.parent.is_dir() else f", nor its folder {path.parent}"
    return DataError(what, where=str(path), hint=hint)


def _id(record: Record) -> str:
    return record.id


def moved_image(row: dict[str, Any], reading: Reading, out: Path) -> dict[str, Any]:
    """The row with the paths of its images as seen from a file elsewhere, where it names their whole paths."""
    if not _is_elsewhere(reading, out) or reading.format not in _MOVABLE:
        return row
    image, name = first(row, COLUMNS.image)
    if isinstance(image, list):
        return row | {name: [_moved(one, reading, out) for one in image]}
    return row | {name: _moved(image, reading, out)} if isinstance(image, str) else row


def _moved(image: Any, reading: Reading, out: Path) -> Any:
    if not isinstance(image, str) or Path(image).is_absolute():
        return image
    return Path(os.path.relpath(reading.folder / reading.subfolder / image, out.parent)).as_posix()


def _in_split(row: dict[str, Any], split: str | None) -> dict[str, Any]:
    """The row, with the split in place of the one that it names, if it names one."""
    own = split_column(row)
    return row if split is None or own is None else row | {own: split}


def split_column(columns: Iterable[str]) -> str | None:
    """The column that names a row's split, if there is one."""
    return next((name for name in columns if plain(name) == "split"), None)


def _json(path: Path, reading: Reading, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _json_lines(path: Path, reading: Reading, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(path: Path, reading: Reading, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row), delimiter=reading.delimiter)
                writer.writeheader()
            writer.writerow(row)


def _lines(path: Path, reading: Reading, numbers: Collection[int]) -> None:
    """Lines of a table that holds its images, as they are."""
    with reading.path.open("rb") as source, path.open("wb") as file:
        file.writelines(line.rstrip(b"\n") + b"\n" for number, line in enumerate(source, start=1) if number in numbers)


def _parquet(path: Path, reading: Reading, numbers: Collection[int], split: str | None) -> None:
    """Row group by row group; images inside the file are taken over as they are."""
    import pyarrow
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(reading.path)
    first = 1
    with parquet.ParquetWriter(path, file.schema_arrow) as writer:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            kept = table.take([n for n in range(table.num_rows) if first + n in numbers])
            own = split_column(kept.column_names)
            if split is not None and own is not None:
                words = pyarrow.array([split] * kept.num_rows, type=kept.schema.field(own).type)
                kept = kept.set_column(kept.column_names.index(own), own, words)
            writer.write_table(kept)
            first += table.num_rows
