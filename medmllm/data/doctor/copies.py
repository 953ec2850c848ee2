"""Copies within a split, and items that are in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medmllm.data.doctor.alike import alike
from medmllm.data.doctor.pictures import Look
from medmllm.data.formats.reading import DataProblem
from medmllm.data.people import names_person
from medmllm.data.records import Record

_COMPARED = 200  # earlier rows of a group of copies that a row is compared with
_ONCE = "keep one of the files, or give the rows one image name"


@dataclass(frozen=True, slots=True)
class Row:
    """A record, and where it stands."""

    file: str
    number: int
    record: Record

    def problem(self, check: str, field: str, message: str, hint: str) -> DataProblem:
        return DataProblem(self.file, self.number, field, message, hint, check)

    def apart(self, other: Row) -> str:
        """The remedy for two rows of different splits that belong together."""
        splits = f"{other.record.split} or {self.record.split}"
        return f"put all rows of a person, and all copies of an image, into one split, {splits}"

    def __str__(self) -> str:
        return f"row {self.number} of {self.file.rpartition('/')[2]} ({self.record.split})"


def same_ids(rows: Sequence[Row]) -> Iterator[DataProblem]:
    """Ids that are in two splits.

    Where most ids of a split are in another, each file counts from the start, which is not evidence; then only
    rows of one image are reported.
    """
    by_split: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_split[row.record.split][row.record.id] = row
    for first, second in _split_pairs(by_split):
        shared = by_split[first].keys() & by_split[second].keys()
        counted = len(shared) > 0.5 * min(len(by_split[first]), len(by_split[second]))
        for row in by_split[second].values():
            other = by_split[first].get(row.record.id)
            if other and (not counted or other.record.image == row.record.image):
                yield row.problem("leak-id", "id", f"{row.record.id!r} is also the id of {other}", row.apart(other))


def same_people(rows: Sequence[Row], seen_again: Collection[str]) -> Iterator[DataProblem]:
    """People who are in two splits, reported once a split; those of `seen_again` may be."""
    named = [row for row in rows if names_person(row.record)]
    for row, other in _across(named, lambda row: row.record.subject):
        if not {row.record.split, other.record.split} & set(seen_again):
            message = f"{row.record.subject!r} is also the subject of {other}"
            yield row.problem("leak-subject", "subject", message, row.apart(other))


def same_files(images: Mapping[Row, Look]) -> Iterator[DataProblem]:
    """Images of equal content: under two names in a split, or in two splits."""
    groups: dict[bytes, list[Row]] = defaultdict(list)
    for row, look in images.items():
        if look.digest:
            groups[look.digest].append(row)
    for group in groups.values():
        yield from _copies(group, "is the same file as", ("duplicate", "leak-file"), lambda row, other: True)


def same_pictures(images: Mapping[Row, Look], seen_again: Collection[str]) -> Iterator[DataProblem]:
    """Images that look alike though their files differ, of different people or in different splits.

    Slices of one person may look alike, also in splits that show the person again.
    """

    def differ(row: Row, other: Row) -> bool:
        apart = row.record.split != other.record.split and not {row.record.split, other.record.split} & set(seen_again)
        return apart or row.record.subject != other.record.subject

    first: dict[bytes, Row] = {}
    for row, look in images.items():
        if look.thumbnail:
            first.setdefault(look.digest, row)
    rows = list(first.values())
    for group in alike([images[row].thumbnail for row in rows]):
        found = [rows[number] for number in group]
        yield from _copies(found, "looks like", ("near-duplicate", "leak-image"), differ)


def _copies(
    group: Sequence[Row], says: str, checks: tuple[str, str], counts: Callable[[Row, Row], bool]
) -> Iterator[DataProblem]:
    """Each row of a group of equal images, with one in another split, else with an earlier one."""
    for place, row in enumerate(group):
        others = [other for other in group[: min(place, _COMPARED)] if counts(row, other)]
        across = [other for other in others if other.record.split != row.record.split]
        for other in (across or others)[:1]:
            leak = other.record.split != row.record.split
            message = f"{row.record.image} {says} {other.record.image} of {other}"
            yield row.problem(checks[leak], "image", message, row.apart(other) if leak else _ONCE)


def _across(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> Iterator[tuple[Row, Row]]:
    """The first row of each key in a split, with the first in an earlier split."""
    seen: dict[Hashable, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        there = seen[key(row)]
        if row.record.split not in there:
            if there:
                yield row, next(iter(there.values()))
            there[row.record.split] = row


def _split_pairs(splits: Iterable[str]) -> list[tuple[str, str]]:
    names = list(splits)
    return [(first, second) for place, second in enumerate(names) for first in names[:place]]
