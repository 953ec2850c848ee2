"""Which reader a file needs, and which files a folder's data lies in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from graphalign.names import nearest
from medmllm.data.formats import flat, llava
from medmllm.data.formats.columns import KNOWN, has, image_columns, plain
from medmllm.data.formats.flat import Layout
from medmllm.data.formats.layouts import LAYOUTS, PATH_VQA, TABLE, VQA_RAD
from medmllm.data.formats.looks import fault_of, report_columns
from medmllm.data.formats.parquet import parquet_rows
from medmllm.data.formats.pickles import pickle_rows
from medmllm.data.formats.reading import (
    IMAGE_FOLDERS,
    TO_TRAIN_ON,
    DataProblem,
    Reading,
    TooManyProblems,
    Use,
    Wanted,
    split_name,
)
from medmllm.data.formats.text import text_rows
from medmllm.data.images import locate
from medmllm.data.records import Record
from medmllm.data.scans.address import address
from medmllm.errors import DataError, command_line, quoted

LLAVA = "llava"
FORMATS = {
    LLAVA: "LLaVA's and LLaVA-Med's JSON or JSON Lines: conversations about one image",
    **{layout.name: layout.about for layout in (*LAYOUTS, PATH_VQA, TABLE)},
}
ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".pkl")
_SPLIT_FILE = re.compile(r"([A-Za-z_]+?)(?:[-_.]\d.*)?\.(?:json|jsonl|csv|tsv|parquet)")
_VQA_MED_FILE = re.compile(r".*QA_?pairs_([A-Za-z]+)\.txt", re.IGNORECASE)
_TRIED = 20  # rows that say what a file is, and where its images are


def read_data(path: Path, *, images: Path | None = None, wanted: Wanted = TO_TRAIN_ON) -> list[Reading]:
    """Read a data file, or every data file of a folder.

    A folder's files are named by their splits (`train.json`, `val.csv`, `test-00000-of-00002.parquet`, also below
    `data/`), or lie as VQA-RAD, PathVQA or OmniMedVQA are handed out.

    Args:
        path: a file or a folder.
        images: what image names are relative to, where it is not the data set's folder.
        wanted: what is read out of it; without more, rows to train on.

    Returns:
        A reading per file, in order of their names. Faults of rows are in them, not raised.

    Raises:
        DataError: a folder without a data file.
        MissingExtraError: a Parquet file, and no pyarrow.
    """
    if not path.is_dir():
        return [read_file(path, folder=images, wanted=wanted)]
    files = list(_files(path))
    if not files:
        hint = "name a file, or call the folder's files train, validation and test"
        if any(path.glob("*.tar")):
            index, source = command_line("data", "index", path), quoted(f"data.source={path}")
            hint = f"{index}; then {source} data.validation=FILE streams its tars"
        raise DataError("no data file found whose split can be recognised", where=str(path), hint=hint)
    readings = [_read_inside(file, path, split, images, wanted) for file, split in files]
    _report_same_ids(readings)
    return readings


def read_file(
    path: Path, *, folder: Path | None = None, split: str | None = None, wanted: Wanted = TO_TRAIN_ON
) -> Reading:
    """Read one data file, whatever its format.

    Args:
        path: its ending says how it is stored, its first row how rows are spelt.
        folder: what image names are relative to; the file's folder, or that of the data set it belongs to.
        split: split of rows that do not name theirs; "train" if neither file nor format says another.
        wanted: what is read out of it; without more, rows to train on.
    """
    reading = Reading(path, folder or _home(path), split or wanted.unnamed, wanted, named=split is not None)
    try:
        _read_into(reading)
    except TooManyProblems:
        message = f"has {len(reading.problems):,} problems so far, and is not read on"
        reading.problems.append(DataProblem(str(path), None, "", message, "look at the first of them"))
    _find_images(reading)
    return reading


def _find_images(reading: Reading) -> None:
    """Where no image is where its row says, look into the folders beside the data file that usually hold them."""
    some = reading.records[:_TRIED]
    if reading.content is not None or reading.wanted.use is Use.SCORE or not some:
        return
    prefix = next((f"{one.images}/" for one in LAYOUTS if one.name == reading.format and one.images), "")
    paths = [address(name).path for record in some for name in record.images]
    names = [path.removeprefix(prefix) for path in paths]
    if not paths or any((reading.folder / path).exists() for path in paths):
        return
    for sub in IMAGE_FOLDERS:
        if any((reading.folder / sub / name).exists() for name in names):
            reading.records = [_inside(record, sub, prefix) for record in reading.records]
            reading.subfolder = sub
            reading.warnings.append(f"{reading.path}: the images are taken from {sub}/ beside it")
            return


def _inside(record: Record, sub: str, prefix: str) -> Record:
    image, *further = (f"{sub}/{name.removeprefix(prefix)}" for name in record.images or ("",))
    own = address(record.image).path  # which is the subject where the row names nobody
    subject = address(image).path if record.subject == own else record.subject
    return replace(record, image=image if record.image else "", further=tuple(further), subject=subject)


def _read_into(reading: Reading) -> None:
    rows = raw_rows(reading)
    begin = list(islice(rows, _TRIED))
    if not begin:
        if not reading.problems:
            hint = "it needs at least one row with an image and a conversation"
            reading.report(None, "", "the file has no rows", hint)
        return
    telling = next((row for _, row in begin if llava.is_llava(row)), begin[0][1])
    layout = _layout(reading.path, telling)
    if layout is not None and (fault := _fault_of_table(reading, begin, layout)):
        reading.report(None, "", *fault)
        return
    take_rows(reading, layout, chain(begin, rows))


def _fault_of_table(reading: Reading, rows: Sequence[tuple[int, Any]], layout: Layout) -> tuple[str, str] | None:
    """Columns that the first rows lack altogether, and the remedy."""
    names = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    reports = report_columns(names)
    if len(reports) == 1 and not has(dict.fromkeys(names), (*layout.columns.question, *layout.columns.answer)):
        names.append("caption")
        reading.warnings.append(f"{reading.path}: {reports[0]} is read as the caption")
    wanted = reading.wanted
    if wanted.text_only or wanted.image_columns or image_columns(tuple(names), layout.columns.image):
        names.append("image")
    if any(not isinstance(row, dict) for _, row in rows) or reading.wanted.question:
        return None
    return fault_of(names, layout.columns, reading.wanted.use)


def take_rows(reading: Reading, layout: Layout | None, rows: Iterable[tuple[int, Any]]) -> None:
    """Read numbered rows of a layout into the reading; of conversations, where it is None."""
    reading.format = LLAVA if layout is None else layout.name
    if layout is None:
        llava.read_rows(reading, rows)
    else:
        reading.split = reading.split if reading.named else layout.split or reading.split
        flat.read_rows(reading, rows, layout)


def raw_rows(reading: Reading) -> Iterator[tuple[int, Any]]:
    """Numbered rows as they are in a file; unreadable ones are reported to the reading."""
    readers = {".parquet": parquet_rows, ".pkl": pickle_rows}
    return readers.get(reading.path.suffix.lower(), text_rows)(reading)


def _layout(path: Path, row: Any) -> Layout | None:
    """How a file's rows are spelt; None for conversations, and for rows that are nothing."""
    if llava.is_llava(row):
        return None
    if path.suffix == ".pkl":
        return PATH_VQA
    known = next((layout for layout in LAYOUTS if layout.knows(row)), None)
    table = isinstance(row, dict) and not KNOWN.isdisjoint(map(plain, row))
    return known or (
        TABLE if table or path.suffix in (".csv", ".tsv", ".parquet", ".txt") or isinstance(row, dict) else None
    )


def _home(path: Path) -> Path:
    """The folder of the data set that a file belongs to: above `QA_information/` and `qas/`, else the file's own."""
    inner = next((parent for parent in path.parents if parent.name in ("QA_information", "qas")), None)
    return inner.parent if inner else path.parent


def _files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Data files of a folder with their splits, None where the rows say it."""
    for place in (folder, folder / "data"):
        found = [(path, split_of_file(path)) for path in sorted(place.iterdir())] if place.is_dir() else []
        named = [(path, split) for path, split in found if split and path.is_file()]
        if named:
            yield from named
            return
    yield from ((path, split_name(path.parent.name)) for path in sorted(folder.glob("qas/*/*_qa.pkl")))
    yield from ((path, None) for path in sorted(folder.glob("QA_information/**/*.json")))
    yield from ((path, None) for path in sorted(folder.glob("VQA_RAD Dataset Public.json")))
    yield from ((path, None) for path in sorted(folder.glob("metadata.csv")))


def testing_is_named(path: Path, readings: Sequence[Reading]) -> bool:
    """Whether the data itself says which rows are for testing: VQA-RAD, and folders with a file for each split."""
    says = path.is_dir() or any(reading.format == VQA_RAD.name for reading in readings)
    return says and any(record.split == "test" for reading in readings for record in reading.records)


def holds_data(folder: Path) -> bool:
    """Whether a folder holds data files whose splits can be recognised."""
    return next(_files(folder), None) is not None


def split_of_file(path: Path) -> str | None:
    """The split that a file's name begins with; of VQA-Med's lists, ends with."""
    if found := _VQA_MED_FILE.fullmatch(path.name):
        return split_name(found[1])
    found = _SPLIT_FILE.fullmatch(path.name)
    return split_name(found[1]) or split_name(found[1].partition("_")[0]) if found else None


def _read_inside(file: Path, folder: Path, split: str | None, images: Path | None, wanted: Wanted) -> Reading:
    try:
        locate(folder, str(file.relative_to(folder)), allow_outside=wanted.allow_outside)
    except ValueError as cause:
        reading = Reading(file, folder)
        reading.report(
            None, "", f"the data file leaves the folder ({cause})", "set data.allow_outside=true if you trust it"
        )
        return reading
    return read_file(file, folder=images or folder, split=split, wanted=wanted)


def _report_same_ids(readings: list[Reading]) -> None:
    """Ids must differ among the files of a split."""
    owner: dict[tuple[str, str], Reading] = {}
    for reading in readings:
        for record in reading.records:
            first = owner.setdefault((record.split, record.id), reading)
            if first is not reading:
                message = f"{record.id!r} is also the id of a row in {first.path.name}"
                problem = DataProblem(str(reading.path), reading.rows[record.id], "id", message)
                reading.problems.append(problem)


def suggestion(path: Path, names: tuple[str, ...]) -> str:
    """The nearest data file or data set to a name that is none; "" where nothing is near."""
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    siblings = [other.name for other in there if other.suffix in ENDINGS and other.name != path.name]
    stems = {Path(name).stem: name for name in [*siblings, *names]}  # alike endings alone make no two names alike
    return stems.get(nearest(path.stem, stems), "")
