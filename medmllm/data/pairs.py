"""Captions from accepted pairs: the lines of `exgra align` give rows of the data set the captions of another file.

exgra align images.npy reports.npy --known known.csv --out aligned
exgra train data.source=images.csv data.pairs=aligned/pairs.csv data.captions=reports.csv data.min_confidence=0.6
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.formats.columns import COLUMNS, first
from medmllm.data.formats.reading import Reading, Use, Wanted, raise_all
from medmllm.data.formats.registry import raw_rows
from medmllm.data.records import Record
from medmllm.errors import DataError

HEAD = ("row_id", "column_id", "confidence", "known")


@dataclass(frozen=True)
class Accepted:
    """The captions that pairs give to rows.

    Attributes:
        captions: id of a row -> its caption.
        known: how many of them are of pairs that were known.
        left_out: pairs of too little confidence.
        files: the pairs and the captions.
        warnings: what looks odd, one line each.
    """

    captions: Mapping[str, str] = field(default_factory=dict)
    known: int = 0
    left_out: int = 0
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def given_to(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Return the records with these captions; one without keeps its own, or lacks one.

        Raises:
            DataError: no pair names one of these rows.
        """
        if not self.files or not records:
            return records
        if not any(record.id in self.captions for record in records):
            some = ", ".join(repr(record.id) for record in records[:3])
            raise DataError(
                f"no accepted pair names a training row by its id, such as {some}",
                where=str(self.files[0]),
                hint="give `exgra align` the ids of the rows, or lower data.min_confidence",
            )
        return tuple(
            replace(record, caption=self.captions[record.id], caption_missing=False)
            if record.id in self.captions
            else record
            for record in records
        )


def accepted_pairs(pairs: Path, texts: Path, least: float) -> Accepted:
    """Read the pairs that are known or sure enough, and the captions that they name.

    Args:
        pairs: `pairs.csv` of `exgra align`; its rows are those of the data set, its columns those of `texts`.
        texts: a table or JSON file with an id and a caption in each row.
        least: confidence that a found pair needs; known pairs are taken whatever theirs is.

    Raises:
        DataError: a file is missing or damaged, or a pair names a caption that is not there.
    """
    known_texts, found, known, left_out = captions_by_id(texts), {}, 0, 0
    for number, line in _lines(pairs):
        given = line["known"].strip().lower() == "true"
        try:
            sure = given or float(line["confidence"]) >= least
        except ValueError:
            raise DataError(
                f"the confidence {line['confidence']!r} is not a number", where=f"{pairs}:{number}"
            ) from None
        if not sure:
            left_out += 1
        elif line["column_id"] not in known_texts:
            raise DataError(f"{texts.name} has no caption {line['column_id']!r}", where=f"{pairs}:{number}")
        elif line["row_id"] in found:
            raise DataError(f"the row {line['row_id']!r} is in two pairs", where=f"{pairs}:{number}")
        else:
            found[line["row_id"]] = known_texts[line["column_id"]]
            known += given
    used = f"{count_of(len(found), 'pair gives a caption', 'pairs give captions')} ({known} known)"
    told = f"{pairs}: {used}, {left_out} below a confidence of {least:g}"
    return Accepted(found, known, left_out, (pairs, texts), (told, *_doubts(pairs)))


def captions_by_id(path: Path) -> dict[str, str]:
    """Return the captions of a table or JSON file by their ids.

    Raises:
        DataError: a row has no id or no caption, or an id occurs twice.
    """
    reading, found = Reading(path, path.parent, wanted=Wanted(Use.CAPTION)), {}
    if not path.is_file():
        raise DataError("the file of captions does not exist", where=str(path), hint="data.captions=FILE")
    for number, row in raw_rows(reading):
        name, text = (
            (first(row, names)[0] for names in (COLUMNS.id, COLUMNS.caption)) if isinstance(row, dict) else (None,) * 2
        )
        if name is None or not isinstance(text, str):
            raise DataError("a row needs an `id` and a `caption`", where=f"{path}: row {number}")
        if str(name) in found:
            raise DataError(f"the id {str(name)!r} occurs twice", where=f"{path}: row {number}")
        found[str(name)] = text.strip()
    raise_all(reading.problems)
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of `pairs.csv` with their numbers."""
    if not path.is_file():
        raise DataError("the file of pairs does not exist", where=str(path), hint="`exgra align` writes pairs.csv")
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        if not set(HEAD) <= set(table.fieldnames or ()):
            raise DataError(
                f"the pairs need the columns {', '.join(HEAD)}", where=str(path), hint="`exgra align` writes pairs.csv"
            )
        for number, line in enumerate(table, start=2):
            if None in line.values() or None in line:
                raise DataError("the line has another number of columns", where=f"{path}:{number}")
            yield number, line


def _doubts(pairs: Path) -> list[str]:
    """That the alignment said of itself that it is not to be trusted, where its summary is beside it."""
    summary = pairs.with_name("summary.json")
    try:
        trusted = json.loads(summary.read_text("utf-8")).get("trusted")
    except (OSError, ValueError, AttributeError):
        return []
    return [f"{pairs}: this alignment is not trusted, see {summary}"] if trusted is False else []
