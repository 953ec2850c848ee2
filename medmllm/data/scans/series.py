"""The files of one folder as a series of slices: which belong together, and in which order they lie."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from graphalign.counts import count_of
from medmllm.data.scans.address import Address
from medmllm.data.scans.dicom_header import Header, count_frames, numbers, read_header
from medmllm.errors import DataError

MOST_FILES = 10_000  # of a series
_MOST_NAMED = 12  # groups that an error lists
# What tells files of one place apart, the first that does: diffusion, phase of the heart, time.
_APART = ("DiffusionBValue", "TriggerTime", "ImageType", "AcquisitionNumber", "AcquisitionTime", "ContentTime")
_PLANES = ("sagittal", "coronal", "axial")  # across the axes from right to left, front to back, feet to head
_UPWARD = (-1.0, -1.0, 1.0)  # along each of DICOM's axes, the direction in which slices are counted


@dataclass(frozen=True, slots=True)
class One:
    """One slice: a frame of a file.

    Attributes:
        normal: unit vector across the slice, in the direction in which slices are counted; None: not known.
        place: millimetres along it; None: not known.
    """

    path: Path
    header: Header
    normal: tuple[float, float, float] | None
    place: float | None

    @property
    def plane(self) -> str:
        """As it was taken: axial, coronal or sagittal; "" where the file does not say it."""
        return "" if self.normal is None else _PLANES[int(np.argmax(np.abs(self.normal)))]


@dataclass(frozen=True, slots=True)
class Group:
    """Slices that belong together, in order, and what distinguishes them from others of the folder."""

    slices: tuple[One, ...]
    words: str


def series(folder: Path, found: Address) -> tuple[One, ...]:
    """The slices of a folder in order: from the feet up, from back to front, from left to right.

    By the places that the files name, else by their instance numbers, else by file names, 2 before 10.

    Raises:
        DataError: a file that is not a picture, several groups of slices of which none is named, or none at all.
    """
    state = [(path.name, path.stat()) for path in _files(folder)]
    groups = _groups(folder, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in state))
    if found.group is not None and not 1 <= found.group <= len(groups):
        raise DataError(
            f"has {count_of(len(groups), 'group')} of slices, and number {found.group} is requested", hint=_list(groups)
        )
    if found.group is None and len(groups) > 1:
        several = len({one.header.text("SeriesInstanceUID") for group in groups for one in group.slices})
        what = f"{several} series" if several > 1 else f"{len(groups)} groups of slices of one series"
        hint = f"choose one as in {found.path}#group=1,axial=0, or keep each in a folder of its own. {_list(groups)}"
        raise DataError(f"the folder holds {what}", hint=hint)
    return groups[(found.group or 1) - 1].slices


def _list(groups: Sequence[Group]) -> str:
    lines = [
        f"group {number}: {count_of(len(group.slices), 'slice')}, {group.words}"
        for number, group in enumerate(groups, 1)
    ]
    more = len(lines) - _MOST_NAMED
    return "; ".join([*lines[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


@lru_cache(maxsize=16)
def _groups(folder: Path, state: tuple[tuple[str, int, int], ...]) -> tuple[Group, ...]:
    """The groups of a folder; remembered while its files are the same, since every slice asks for them."""
    files = _files(folder)
    headers = [_header(path) for path in files]
    counts = [count_frames(header) for header in headers]
    if max(counts) > 1:
        return (_frames(files, headers, counts),)
    groups: dict[tuple[str, ...], list[One]] = {}
    for path, header in zip(files, headers, strict=True):
        groups.setdefault(_kind(header), []).append(one_slice(path, header))
    parts = [part for group in groups.values() for part in _times(group)]
    parts.sort(key=lambda part: min(_natural(one) for one in part))
    names = [_words(part, parts) for part in parts]
    return tuple(Group(tuple(_ordered(part)), words) for part, words in zip(parts, names, strict=True))


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    if not 1 <= len(files) <= MOST_FILES:
        raise DataError(f"the folder has {count_of(len(files), 'file')}, and a series has 1 to {MOST_FILES:,}")
    root = folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(root):
            raise DataError(f"{path.name} leads out of the series' folder", hint="copy the file there")
    return sorted(files)


def _header(path: Path) -> Header:
    """A file's header, or an error that names the file: nothing of a folder is left out silently."""
    try:
        return read_header(path)
    except DataError as error:
        hint = "move it out of the folder" if error.hint == "" else f"move it out of the folder, or: {error.hint}"
        raise DataError(f"{path.name} in the series' folder: {error.message}", hint=hint) from error
    except Exception as error:
        message = f"{path.name} in the series' folder is damaged ({error})"
        raise DataError(message, hint="copy or download it again, or move it out of the folder") from error


def _frames(files: Sequence[Path], headers: Sequence[Header], counts: Sequence[int]) -> Group:
    """The frames of the only file of a folder as its slices."""
    if len(files) > 1:
        name = files[int(np.argmax(counts))].name
        others = count_of(len(files) - 1, "other file")
        message = f"{name} has {count_of(max(counts), 'frame')} and is beside {others} in the series' folder"
        raise DataError(message, hint=f"name the file itself, as in {name}#axial=0")
    frames = [one_slice(files[0], replace(headers[0], frame=number)) for number in range(counts[0])]
    places = [one.place for one in frames]
    turns = {one.normal for one in frames}
    known = None not in places and len(set(places)) == len(places) and len(turns) == 1
    return Group(tuple(_ordered(frames) if known else frames), "frames of one file")


def one_slice(path: Path, header: Header) -> One:
    """Where a frame lies, by its position and orientation."""
    place, turn = (
        numbers(value) if (value := header.get(name)) is not None else []
        for name in ("ImagePositionPatient", "ImageOrientationPatient")
    )
    if len(place) != 3 or len(turn) != 6 or not np.isfinite([*place, *turn]).all():
        return One(path, header, None, None)
    normal = np.cross(turn[:3], turn[3:])
    length = float(np.linalg.norm(normal))
    if length < 0.1:
        return One(path, header, None, None)
    axis = int(np.argmax(np.abs(normal)))
    normal = normal / length * (_UPWARD[axis] if normal[axis] > 0 else -_UPWARD[axis])
    x, y, z = (round(float(part), 4) + 0.0 for part in normal)
    return One(path, header, (x, y, z), float(np.dot(normal, place)))


def _kind(header: Header) -> tuple[str, ...]:
    """What files must share to be slices of one volume."""
    turn = header.get("ImageOrientationPatient")
    return (
        header.text("SeriesInstanceUID"),
        f"{header.number('Rows'):g} x {header.number('Columns'):g}",
        "" if turn is None else " ".join(f"{round(number, 2) + 0.0:g}" for number in numbers(turn)),
        header.text("EchoNumbers"),
        header.text("EchoTime"),
        header.text("TemporalPositionIdentifier"),
        "localizer" if "LOCALIZER" in header.text("ImageType") else "",
    )


def _times(group: list[One]) -> list[list[One]]:
    """A group whose files lie at the same places, parted into volumes: by what tells them apart, else by number."""
    places = Counter(None if one.place is None else round(one.place, 2) for one in group)
    repeats = set(places.values())
    if None in places or repeats == {1}:
        return [group]
    if len(repeats) > 1:
        twice = next(place for place, count in places.items() if count == max(repeats))
        first, second = [one.path.name for one in group if one.place is not None and round(one.place, 2) == twice][:2]
        message = f"{first} and {second} lie at one place of the series, where others have a place alone"
        raise DataError(message, hint="keep each volume in a folder of its own")
    for name in _APART:
        parts = _parted(group, lambda one, name=name: one.header.text(name))  # type: ignore[misc]
        if len(parts) == max(repeats) and all(_distinct(part) for part in parts):
            return parts
    order: Counter[float] = Counter()
    ranks = {}
    for one in sorted(group, key=_natural):
        ranks[one.path] = order[round(one.place or 0.0, 2)]
        order[round(one.place or 0.0, 2)] += 1
    return _parted(group, lambda one: ranks[one.path])


def _parted(group: Iterable[One], key: Callable[[One], object]) -> list[list[One]]:
    parts: dict[object, list[One]] = {}
    for one in group:
        parts.setdefault(key(one), []).append(one)
    return list(parts.values())


def _distinct(part: Sequence[One]) -> bool:
    return len({round(one.place or 0.0, 2) for one in part}) == len(part)


def _ordered(part: Sequence[One]) -> list[One]:
    if all(one.place is not None for one in part):
        return sorted(part, key=lambda one: (one.place, _natural(one)))
    return sorted(part, key=_natural)


def _natural(one: One) -> tuple[float, list[tuple[int, int, str]]]:
    """By instance number, then by name with its numbers as numbers."""
    words = re.findall(r"\d+|\D+", one.path.name)
    number = one.header.number("InstanceNumber", 0.0)
    return number, [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in words]


def _words(part: Sequence[One], parts: Sequence[Sequence[One]]) -> str:
    """The fields that distinguish a group from others of the folder."""
    names = ("SeriesDescription", "Modality", "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", *_APART)
    found = []
    for name in names:
        several = {other[0].header.text(name) for other in parts}
        if len(several) > 1:
            found.append(f"{name} {part[0].header.text(name) or 'not given'}")
    plane = part[0].plane
    found += [plane] if plane and len({other[0].plane for other in parts}) > 1 else []
    return ", ".join([*found, f"from {part[0].path.name} on"])
