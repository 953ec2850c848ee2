"""Pictures, facts and questions of the chest films."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmllm.data.prepare import facts
from medmllm.data.prepare.archives import SOFI
from medmllm.data.prepare.balance import round_robin
from medmllm.data.prepare.chance import fraction, shuffled
from medmllm.data.prepare.pictures import Fact, Picture, Question
from medmllm.data.prepare.slices import SIDE

FOLDER = "sofiimg/datasets/pneumonia"
MASKS = "sofiimg/datasets/pneumonia_masks/test/NORMAL"
TEST_SHARE, VALIDATION_SHARE = 0.25, 0.08  # of patient groups
# Films of each label; half of them normal, so that yes and no are even.
FILMS = {
    "train": {"normal": 460, "bacterial pneumonia": 230, "viral pneumonia": 230},
    "validation": {"normal": 48, "bacterial pneumonia": 24, "viral pneumonia": 24},
    "test": {"normal": 180, "bacterial pneumonia": 90, "viral pneumonia": 90},
}


@dataclass(frozen=True, slots=True)
class Film:
    """One film of the archive: its file, lung mask (if any), patient group and physicians' label."""

    path: Path
    mask: Path | None
    patient: str
    label: str


def patient_group(name: str) -> str:
    """The patient by the number in the file name.

    Numbers are counted apart for bacterial and viral films, and for the two series of normal films; whether
    equal numbers are one child is not known, so they are merged: films of one child never part.
    """
    found = re.match(r"person(\d+)_", name)
    if found:
        return f"film-person-{int(found[1]):04d}"
    found = re.match(r"(?:NORMAL2-)?IM-(\d+)-", name)
    if not found:
        raise ValueError(f"{name} is not a film of the pinned archive")
    return f"film-im-{int(found[1]):04d}"


def film_label(name: str) -> str:
    """The physicians' label, as the file name gives it."""
    return "viral pneumonia" if "_virus_" in name else "bacterial pneumonia" if "_bacteria_" in name else "normal"


def group_split(patient: str) -> str:
    """Split of a patient group; the archive's own split mixes patients and is not used."""
    place = fraction(patient, "split")
    return "test" if place < TEST_SHARE else "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def grey_square(path: Path) -> NDArray[np.uint8]:
    """A film at the data set's size."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def find_films(root: Path) -> list[Film]:
    """All films but exact copies, of the file or of the scaled pixels; the first by name stays."""
    films: list[Film] = []
    seen: set[str] = set()
    for path in sorted((root / FOLDER).glob("*/*/*.jpeg"), key=lambda p: (p.name, str(p))):
        digests = {md5(path.read_bytes()).hexdigest(), md5(grey_square(path).tobytes()).hexdigest()}
        if not digests & seen:
            mask = root / MASKS / f"{path.stem}.png"
            films.append(Film(path, mask if mask.exists() else None, patient_group(path.name), film_label(path.name)))
        seen |= digests
    return films


def film_pictures(root: Path, limits: Mapping[str, Mapping[str, int]] | None = FILMS) -> Iterator[Picture]:
    """The chosen films, every second one of each label mirrored.

    Args:
        root: folder of the unpacked archives.
        limits: films of each label in each split; None for all.
    """
    pools: dict[tuple[str, str], list[Film]] = defaultdict(list)
    for film in find_films(root):
        pools[group_split(film.patient), film.label].append(film)
    for split, counts in FILMS.items():
        for label in counts:
            pool = pools[split, label]
            for number, film in enumerate(one_a_patient(pool, limits[split][label] if limits else len(pool))):
                yield film_picture(film, split, mirrored=number % 2 == 1)


def one_a_patient(films: list[Film], count: int) -> list[Film]:
    """`count` films from as many patients as possible, patients with a lung mask first."""
    patients: dict[str, list[Film]] = defaultdict(list)
    for film in shuffled(films, "films"):
        patients[film.patient].append(film)
    by_mask = [sorted(group, key=lambda film: film.mask is None) for group in patients.values()]
    by_mask.sort(key=lambda group: group[0].mask is None)
    return round_robin(dict(enumerate(by_mask)), count)


def film_picture(film: Film, split: str, mirrored: bool) -> Picture:
    """A film with its facts and candidate questions."""
    pixels = grey_square(film.path)
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
    lungs = lung_areas(film.mask, mirrored) if film.mask else None
    return Picture(
        name=f"film-{film.path.stem}",
        pixels=pixels,
        subject=film.patient,
        source=SOFI.source,
        split=split,
        facts=(*film_facts(film, mirrored, lungs), *facts.brightness_facts(pixels)),
        questions=tuple(film_questions(film, mirrored, lungs)),
        general=(film.label, "film", "pneumonia"),
    )


def lung_areas(path: Path, mirrored: bool) -> tuple[float, float]:
    """Share of the picture that the lung field at its left and the one at its right fill.

    The mask's centre column parts the fields.
    """
    with Image.open(path) as image:
        mask = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
    mask = mask[:, ::-1] if mirrored else mask
    middle = round(float(np.nonzero(mask)[1].mean()))
    return float(mask[:, :middle].sum() / mask.size), float(mask[:, middle:].sum() / mask.size)


def larger_field(lungs: tuple[float, float]) -> str | None:
    """The larger lung field; None where they differ by less than 3 % of their sum."""
    left, right = lungs
    return None if abs(left - right) <= 0.03 * (left + right) else "left" if left > right else "right"


def film_facts(film: Film, mirrored: bool, lungs: tuple[float, float] | None) -> Iterator[Fact]:
    """The facts known of the film, whatever the question."""
    yield Fact(
        "film", ("This is a frontal chest film of a child.", "The picture is a frontal radiograph of a child's chest.")
    )
    yield facts.label_fact(film.label)
    yield facts.mirror_fact(mirrored)
    yield facts.orientation_fact("film", mirrored)
    if lungs:
        yield facts.lung_fact(sum(lungs))
        side = larger_field(lungs)
        if side:
            yield facts.larger_lung_fact(side)


def film_questions(film: Film, mirrored: bool, lungs: tuple[float, float] | None) -> Iterator[Question]:
    """The questions that the label, the mask and the flip answer."""
    yield Question("pneumonia", "no" if film.label == "normal" else "yes")
    yield Question("cause", film.label)
    yield Question("mirrored", "yes" if mirrored else "no")
    side = larger_field(lungs) if lungs else None
    if side:
        yield Question("larger lung", side)
