"""Questions over three slices of one volume, of which no answer follows from the middle slice.

Rows come in groups that share the question and the middle slice and have every possible answer once. So whoever sees
the middle slice alone, or none, is right in one row of a group, whatever they know:

- *which slice*: of the first and the last, one has a property: it is axial, in a lung window, shows the liver. Both
  orders.
- *slice count*: how many have it. The outer slices have it twice, once, never.
- *slice order*: is the first nearer to the head than the last? Axial slices, both orders.
- *same side*: is an organ on the same side of the picture in the first as in the last? Some pictures are mirrored.

The pictures are those of the embedded data set; planes, windows, organs and sides are what is asked about them there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmllm.data.prepare.balance import round_robin
from medmllm.data.prepare.chance import fraction, pick, shuffled
from medmllm.data.prepare.pictures import Picture
from medmllm.data.prepare.write import zip_entry

Trait = tuple[str, str]  # ("plane" | "window" | "organ", "axial" | "lung" | "liver" ...)
GROUPS = {  # of each kind, at most
    "train": {"which slice": 280, "slice count": 200, "slice order": 140, "same side": 100},
    "validation": {"which slice": 20, "slice count": 14, "slice order": 14, "same side": 10},
    "test": {"which slice": 80, "slice count": 60, "slice order": 60, "same side": 40},
    "test_slab": {"which slice": 40, "slice count": 30, "slice order": 30, "same side": 20},
}
COUNTS = ("none", "one", "two", "three")
APART = 0.06  # slices whose order is the question lie this share of the volume's axial stack apart, at least
_HAVING = {"plane": "{} in plane", "window": "shown in a {} window", "organ": "showing the {}"}
_TEXTS = {
    ("which slice", "plane"): ("Which slice is {}, the first or the last?", "Is the first or the last slice {}?"),
    ("which slice", "window"): (
        "Which slice is shown in a {} window, the first or the last?",
        "Is the first or the last slice shown in a {} window?",
    ),
    ("which slice", "organ"): (
        "Which slice shows the {}, the first or the last?",
        "Does the first or the last slice show the {}?",
    ),
    ("slice count", "plane"): ("How many of the slices are {}?", "Count the {} slices."),
    ("slice count", "window"): (
        "How many of the slices are shown in a {} window?",
        "Count the slices in a {} window.",
    ),
    ("slice count", "organ"): ("How many of the slices show the {}?", "In how many slices is the {} visible?"),
    ("slice order", ""): (
        "Is the first slice nearer to the head than the last?",
        "Does the first slice lie above the last?",
    ),
    ("same side", ""): (
        "Is the {} on the same side of the picture in the first slice as in the last?",
        "Do the first and the last slice have the {} on the same side of the picture?",
    ),
}


@dataclass(frozen=True, slots=True)
class Cut:
    """A picture of one slice, and what is known of it.

    Attributes:
        picture: the picture.
        plane, index: where it was cut.
        traits: whether it has each property of which that is certain.
        sides: organs that are clearly on one side of the picture.
    """

    picture: Picture
    plane: str
    index: int
    traits: Mapping[Trait, bool]
    sides: Mapping[str, str]

    @property
    def place(self) -> tuple[str, int]:
        """The slice, which several pictures may show."""
        return self.plane, self.index


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one question text and one middle slice, with every answer once."""

    kind: str
    text: str
    about: Trait
    rows: tuple[tuple[tuple[Cut, Cut, Cut], str], ...]


def as_cut(picture: Picture) -> Cut:
    """A picture of a volume with the properties that its own questions ask for."""
    plane, index = picture.name.rsplit("-", 3)[1:3]
    traits: dict[Trait, bool] = {("plane", one): one == plane for one in ("axial", "coronal", "sagittal")}
    sides: dict[str, str] = {}
    for question in picture.questions:
        if question.kind == "window":
            traits |= {("window", one): one == question.answer for one in ("soft tissue", "lung", "bone")}
        elif question.kind == "organ present":
            traits["organ", question.about] = question.answer == "yes"
        elif question.kind == "side":
            sides[question.about] = question.answer
    return Cut(picture, plane, int(index), traits, sides)


def several_rows(pictures: Iterable[Picture], images: Mapping[str, Collection[str]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by split, in mixed order, each with three of the images that a split has.

    Args:
        pictures: those of the volumes; others and those with a box are passed over.
        images: names of the images of each split's archive.
    """
    cuts: dict[str, dict[str, list[Cut]]] = {split: {} for split in images}
    for picture in pictures:
        plain = picture.name.startswith(("ct-", "mr-")) and not picture.name.endswith("-box")
        if plain and image_name(picture) in images[picture.split]:
            cuts[picture.split].setdefault(picture.subject, []).append(as_cut(picture))
    return {split: _rows(split, subjects) for split, subjects in cuts.items()}


def write_rows(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write an archive of rows for each split, whose images are in those of the embedded data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, found in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in found)
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            archive.writestr(zip_entry("records.jsonl", zipfile.ZIP_DEFLATED), lines, compresslevel=9)


def image_name(picture: Picture) -> str:
    """Name of a picture's image in its archive."""
    return f"images/{picture.name}.webp"


def _rows(split: str, subjects: Mapping[str, Sequence[Cut]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, make in _MAKERS.items():
        streams = {subject: list(make(cuts, (split, kind, subject))) for subject, cuts in sorted(subjects.items())}
        chosen = round_robin(streams, GROUPS[split][kind])
        found += [_row(split, group, *row) for group in chosen for row in group.rows]
    mixed = shuffled(found, "several", split)
    return [{"id": f"{split}-{number:05d}", **row} for number, row in enumerate(mixed)]


def which_groups(cuts: Sequence[Cut], key: tuple[str, ...]) -> Iterator[Group]:
    """Of the first and the last slice one has a property; the other order has the other answer."""
    for number, (trait, having, lacking) in enumerate(_both(cuts, key, 1)):
        first, last = pick(having, *key, number, "a"), pick(lacking, *key, number, "c")
        middle = _other(cuts, (first, last), (*key, number))
        if middle and first.place != last.place:
            rows = (((first, middle, last), "first"), ((last, middle, first), "last"))
            yield Group("which slice", _text("which slice", trait, number), trait, rows)


def count_groups(cuts: Sequence[Cut], key: tuple[str, ...]) -> Iterator[Group]:
    """How many slices have a property: with one middle, outer slices that have it never, once, twice."""
    for number, (trait, having, lacking) in enumerate(_both(cuts, key, 3)):
        middle = pick([*having, *lacking], *key, number, "b")
        one, two = _two(having, [middle], (*key, number))
        three, four = _two(lacking, [cut for cut in (middle, one, two) if cut], (*key, number))
        if one and two and three and four:
            once = (one, middle, three) if fraction(*key, number, "side") < 0.5 else (three, middle, one)
            least = int(middle.traits[trait])
            triples = ((three, middle, four), once, (one, middle, two))
            rows = tuple((triple, COUNTS[least + more]) for more, triple in enumerate(triples))
            yield Group("slice count", _text("slice count", trait, number), trait, rows)


def order_groups(cuts: Sequence[Cut], key: tuple[str, ...]) -> Iterator[Group]:
    """Which of two axial slices is nearer to the head, in both orders."""
    axial = [cut for cut in cuts if cut.plane == "axial"]
    if len({cut.index for cut in axial}) < 3:
        return
    apart = APART * (max(cut.index for cut in axial) - min(cut.index for cut in axial))
    for number, lower in enumerate(shuffled(axial * 4, *key)):
        higher = [cut for cut in axial if cut.index > lower.index + apart]
        if not higher:
            continue
        upper = pick(higher, *key, number)
        middle = _other(axial, (lower, upper), (*key, number))
        if middle:
            rows = (((upper, middle, lower), "yes"), ((lower, middle, upper), "no"))
            yield Group("slice order", _text("slice order", ("", ""), number), ("", ""), rows)


def side_groups(cuts: Sequence[Cut], key: tuple[str, ...]) -> Iterator[Group]:
    """Whether an organ is on the same side in two slices: one first slice, and a last one of either side."""
    for number, first in enumerate(shuffled([cut for cut in cuts if cut.sides] * 4, *key)):
        organ = pick(sorted(first.sides), *key, number, "organ")
        lasts = [
            [cut for cut in cuts if cut.place != first.place and cut.sides.get(organ) == side]
            for side in (first.sides[organ], {"left": "right", "right": "left"}[first.sides[organ]])
        ]
        if all(lasts):
            same, other = (pick(part, *key, number, "last") for part in lasts)
            middle = _other(cuts, (first, same, other), (*key, number))
            if middle:
                rows = (((first, middle, same), "yes"), ((first, middle, other), "no"))
                yield Group("same side", _text("same side", ("", organ), number), ("", organ), rows)


_MAKERS: dict[str, Callable[[Sequence[Cut], tuple[str, ...]], Iterator[Group]]] = {
    "which slice": which_groups,
    "slice count": count_groups,
    "slice order": order_groups,
    "same side": side_groups,
}


def _both(cuts: Sequence[Cut], key: tuple[str, ...], least: int) -> Iterator[tuple[Trait, list[Cut], list[Cut]]]:
    """Properties that some slices have and others lack, each with both, kinds of properties by turns."""
    known: dict[Trait, tuple[list[Cut], list[Cut]]] = {}
    for cut in cuts:
        for trait, holds in cut.traits.items():
            known.setdefault(trait, ([], []))[not holds].append(cut)
    usable = [
        trait for trait, parts in sorted(known.items()) if all(len({c.place for c in part}) >= least for part in parts)
    ]
    kinds = {kind: [trait for trait in usable if trait[0] == kind] for kind, _ in usable}
    for turn in range(120):
        for kind, traits in kinds.items():
            trait = shuffled(traits, *key, kind, turn // len(traits))[turn % len(traits)]
            yield trait, *known[trait]


def _two(part: Sequence[Cut], taken: Sequence[Cut], key: tuple[object, ...]) -> tuple[Cut | None, Cut | None]:
    """Two different slices that are none of those."""
    places = {cut.place for cut in taken}
    mixed = [cut for cut in shuffled(part, *key, "outer") if cut.place not in places]
    second = next((cut for cut in mixed if cut.place != mixed[0].place), None)
    return (mixed[0], second) if mixed else (None, None)


def _other(cuts: Sequence[Cut], taken: Sequence[Cut], key: tuple[object, ...]) -> Cut | None:
    """A slice that is none of those."""
    places = {cut.place for cut in taken}
    free = [cut for cut in cuts if cut.place not in places]
    return pick(free, *key, "b") if free else None


def _text(kind: str, about: Trait, number: int) -> str:
    texts = _TEXTS[kind, about[0]]
    return pick(texts, kind, about, number, "text").format(about[1])


def _row(split: str, group: Group, cuts: tuple[Cut, Cut, Cut], answer: str) -> dict[str, Any]:
    first, *further = (image_name(cut.picture) for cut in cuts)
    sentence = _sentence(group, answer)
    return {
        "image": first,
        "further": further,
        "turns": [[group.text, answer]],
        "sentence": sentence,
        "caption": " ".join([sentence, *map(_told, ("first", "second", "third"), cuts)]),
        "kind": group.kind,
        "subject": cuts[0].picture.subject,
        "source": cuts[0].picture.source,
        "split": split,
    }


def _sentence(group: Group, answer: str) -> str:
    kind, name = group.about
    having = _HAVING.get(kind, "").format(name)
    if group.kind == "which slice":
        return f"Of both outer slices, the {answer} is the one {having}."
    if group.kind == "slice count":
        return f"The number of slices {having} is {answer}."
    if group.kind == "slice order":
        return f"The first slice lies {'above' if answer == 'yes' else 'below'} the last."
    return (
        f"The {name} is on {'the same side' if answer == 'yes' else 'different sides'} in the first and the last slice."
    )


def _told(place: str, cut: Cut) -> str:
    """One slice in a sentence of the caption."""
    window = next((name for (kind, name), holds in cut.traits.items() if kind == "window" and holds), "")
    organs = [name for (kind, name), holds in sorted(cut.traits.items()) if kind == "organ" and holds][:2]
    shown = f" in a {window} window" if window else ""
    seen = f" and shows the {' and the '.join(organs)}" if organs else ""
    return f"The {place} slice is {cut.plane}{shown}{seen}."
