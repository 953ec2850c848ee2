"""Statements that hold of a picture, each with the measurement or header field behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medmllm.data.prepare.pictures import Fact

MODALITIES = {"CT": "computed tomography", "MR": "magnetic resonance imaging"}


def fact(topic: str, *wordings: str) -> Fact:
    """A fact from its wordings."""
    return Fact(topic, wordings)


def percent(share: float) -> str:
    """A share in words, to the nearest five percent."""
    rounded = 5 * round(20 * share)
    return f"about {rounded} percent" if rounded else "less than 5 percent"


def prose(names: Sequence[str]) -> str:
    """ "the a, the b and the c"."""
    words = [f"the {name}" for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def article(word: str) -> str:
    """The word with its indefinite article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def modality_fact(modality: str, region: str) -> Fact:
    """How the scan was made, and what it covers."""
    name = MODALITIES[modality]
    return fact(
        "modality",
        f"The picture comes from {name} of the {region}.",
        f"A scan of the {region} by {name} gave this picture.",
    )


def plane_fact(plane: str) -> Fact:
    """The plane of the cut."""
    return fact("plane", f"The slice lies in the {plane} plane.", f"The picture is {article(plane)} cut.")


def window_fact(window: str) -> Fact:
    """The display window."""
    return fact("window", f"The grey values follow a {window} window.", f"The slice is displayed in a {window} window.")


def level_fact(third: str) -> Fact:
    """The slice's place in an axial stack."""
    return fact(
        "level",
        f"The slice lies in the {third} third of the scanned range.",
        f"The level is in the {third} third of the scan.",
    )


def tissue_fact(shares: dict[str, float]) -> Fact:
    """The two tissues with the largest shares of the body section."""
    (first, most), (second, less) = sorted(shares.items(), key=lambda item: -item[1])[:2]
    return fact(
        "tissue",
        f"{percent(most).capitalize()} of the body section is {first} and {percent(less)} is {second}.",
        f"The section is {percent(most)} {first} and {percent(less)} {second}.",
    )


def structure_facts(shares: dict[str, float]) -> list[Fact]:
    """Names of the largest outlined structures and the size of the first; `shares` are parts of the body's area."""
    top = sorted((name for name, share in shares.items() if share > 0.004), key=lambda name: (-shares[name], name))[:4]
    if not top:
        return []
    size = percent(shares[top[0]])
    return [
        fact(
            "largest structure",
            f"{'From large to small' if len(top) > 1 else 'Of the outlined structures'} the slice shows {prose(top)}.",
            f"The outlined structures include {prose(top)}.",
        ),
        fact(
            "size", f"The {top[0]} fills {size} of the section.", f"The {top[0]} takes up {size} of the body section."
        ),
    ]


def side_fact(name: str, side: str) -> Fact:
    """The side of the picture that an organ lies on."""
    return fact(
        "side", f"The {name} lies on the {side} of the picture.", f"The {side} side of the picture holds the {name}."
    )


def orientation_fact(plane: str, flip: bool) -> Fact:
    """Where the person's right (sagittal: front) is in the picture: at the left, or after a flip at the right."""
    end, side = "front" if plane == "sagittal" else "right side", "right" if flip else "left"
    return fact(
        "orientation",
        f"The {end} of the person is on the {side} of the picture.",
        f"In the picture the person's {end} is at the {side}.",
    )


def extent_fact(size_cm: tuple[float, float]) -> Fact:
    """Height and width of the body's bounding box, rounded to whole centimetres."""
    height, width = (round(length) for length in size_cm)
    return fact(
        "extent",
        f"The section is about {width} centimetres wide and {height} tall.",
        f"The body section measures about {width} by {height} centimetres.",
    )


def brightness_facts(pixels: NDArray[np.uint8]) -> list[Fact]:
    """Mean grey level, and the brightest quarter of the picture."""
    rows, columns = (length // 2 for length in pixels.shape)
    quarters = {
        "upper left": pixels[:rows, :columns],
        "upper right": pixels[:rows, columns:],
        "lower left": pixels[rows:, :columns],
        "lower right": pixels[rows:, columns:],
    }
    brightest = max(quarters, key=lambda name: float(quarters[name].mean()))
    grey = percent(float(pixels.mean()) / 255)
    return [
        fact(
            "quarter",
            f"The {brightest} quarter of the picture is the brightest.",
            f"The picture is brightest in the {brightest} quarter.",
        ),
        fact(
            "grey",
            f"The mean grey level is {grey} of white.",
            f"On average a pixel has {grey} of full brightness.",
        ),
    ]


def box_fact(row: int, column: int, side: int) -> Fact:
    """Quarter of the picture that holds the centre of the white box."""
    where = f"{'upper' if row < side / 2 else 'lower'} {'left' if column < side / 2 else 'right'}"
    return fact(
        "box",
        f"The white box lies in the {where} quarter.",
        f"A white box is drawn in the {where} of the picture.",
    )


def film_fact() -> Fact:
    """What every film shows."""
    return fact(
        "film", "This is a frontal chest film of a child.", "The picture is a frontal radiograph of a child's chest."
    )


def label_fact(label: str) -> Fact:
    """The physicians' label of a film."""
    return fact("label", f"The physicians' reading of this film is {label}.", f"This film was read as {label}.")


def mirror_fact(mirrored: bool) -> Fact:
    """Whether the film was mirrored."""
    if mirrored:
        return fact("mirrored", "The film is mirrored left to right.", "After mirroring, left and right are swapped.")
    return fact("mirrored", "The film is not mirrored.", "The film keeps its sides as they were taken.")


def lung_fact(share: float) -> Fact:
    """Share of the film that both lung fields fill."""
    return fact(
        "lungs",
        f"Both lung fields fill {percent(share)} of the picture.",
        f"The outlined lungs take {percent(share)} of the film.",
    )


def larger_lung_fact(side: str) -> Fact:
    """The larger lung field, by its side of the picture."""
    return fact(
        "larger lung",
        f"The {side} lung field of the picture is the larger one.",
        f"The larger lung field is on the {side}.",
    )
