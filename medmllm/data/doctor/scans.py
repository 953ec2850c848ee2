"""How the scans of a data set are shown: what they are, in which window, and what had to be chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medmllm.data.scans.render import Shown

_NAMED = 3  # windows, spacings and files that a line names


@dataclass(frozen=True, slots=True)
class ScanLook:
    """How one scan is shown.

    Attributes:
        modality: as DICOM writes it ("CT"); "" where the file does not say it.
        pixels: photometric interpretation of DICOM; "grey" or "RGB" of volumes.
        bits: stored for each value.
        window: centre and width that were used, in words; "" of colours.
        origin: where the window is from.
        spacing: distance between rows and between columns, in millimetres where the file gives it; None: not known.
        choices: what was chosen where neither row, window nor file says it.
    """

    modality: str
    pixels: str
    bits: int
    window: str
    origin: str
    spacing: tuple[float, float] | None
    choices: tuple[str, ...]

    @classmethod
    def of(cls, shown: Shown) -> ScanLook:
        """Facts that a shown slice carries."""
        cut = shown.cut
        modality, pixels, bits = (cut.facts[name] for name in ("modality", "pixels", "bits"))
        return cls(modality, pixels, bits, shown.window, shown.origin, cut.spacing, shown.choices)


@dataclass(frozen=True, slots=True)
class ScanGroup:
    """Scans of one kind whose window is from one place.

    Attributes:
        images: how many there are.
        windows, spacings: the commonest of each, in words, and how many more there are.
    """

    modality: str
    pixels: str
    bits: int
    origin: str
    images: int
    windows: str
    spacings: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Scans whose picture depends on one choice: what it is, how many there are, and each one's name."""

    choice: str
    images: int
    names: tuple[str, ...]


def scan_groups(scans: Iterable[ScanLook]) -> Iterator[ScanGroup]:
    """The scans by kind and origin of their window, the most frequent first."""
    groups: dict[tuple[str, str, int, str], list[ScanLook]] = {}
    for scan in scans:
        groups.setdefault((scan.modality, scan.pixels, scan.bits, scan.origin), []).append(scan)
    for key, several in sorted(groups.items(), key=lambda item: -len(item[1])):
        windows = _commonest(scan.window for scan in several if scan.window)
        yield ScanGroup(*key, len(several), windows, _commonest(map(_millimetres, several)))


def choices_of(scans: Iterable[tuple[str, ScanLook]]) -> Iterator[Choice]:
    """Each choice with the names of the images that it concerns."""
    found: dict[str, list[str]] = {}
    for name, scan in scans:
        for choice in scan.choices:
            found.setdefault(choice, []).append(name)
    for choice, names in found.items():
        yield Choice(choice, len(names), tuple(names))


def _millimetres(scan: ScanLook) -> str:
    return "not given" if scan.spacing is None else f"{scan.spacing[0]:g} x {scan.spacing[1]:g}"


def _commonest(words: Iterable[str]) -> str:
    counts = Counter(words)
    several = [word for word, _ in counts.most_common(_NAMED)]
    more = len(counts) - len(several)
    return ", ".join([*several, *([f"{more} more"] if more else [])])
