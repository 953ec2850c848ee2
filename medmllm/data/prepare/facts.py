"""Statements that hold of a picture, each with the measurement or header field behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medmllm.data.prepare.pictures import Fact

MODALITIES = {"CT": "computed tomography", "MR": "magnetic resonance imaging"}


def percent(share: float) -> str:
    """A share in words, to the nearest five percent."""
    rounded = 5 * round(20 * share)
    return f"about {rounded} percent" if rounded else "less than 5 percent"


def listed(names: Sequence[str]) -> str:
    """ "the a, the b and the c"."""
    words = [f"the {name}" for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def modality_fact(modality: str, region: str) -> Fact:
    name = MODALITIES[modality]
    return Fact("modality", (f"The picture comes from {name} of the {region}.", f"It is {name} and the scan covers the {region}."))


def plane_fact(plane: str) -> Fact:
    return Fact("plane", (f"The slice lies in the {plane} plane.", f"It is {article(plane)} cut."))


def window_fact(window: str) -> Fact:
    return Fact("window", (f"The grey values follow a {window} window.", f"It is displayed in a {window} window."))


def level_fact(third: str) -> Fact:
    return Fact("level", (f"It lies in the {third} third of the scanned range.", f"The level is in the {third} third of the scan."))


def tissue_fact(shares: dict[str, float]) -> Fact:
    (first, most), (second, next_) = sorted(shares.items(), key=lambda item: -item[1])[:2]
    return Fact(
        "tissue",
        (
            f"{percent(most).capitalize()} of the body section is {first} and {percent(next_)} is {second}.",
            f"The section is {percent(most)} {first} and {percent(next_)} {second}.",
        ),
    )


def structure_facts(shares: dict[str, float]) -> list[Fact]:
    """Names and sizes of the largest outlined structures; `shares` are parts of the body's area."""
    top = sorted((name for name, share in shares.items() if share > 0.004), key=lambda name: (-shares[name], name))[:4]
    if not top:
        return []
    size = percent(shares[top[0]])
    return [
        Fact(
            "largest structure",
            (f"From large to small it shows {listed(top)}.", f"The outlined structures include {listed(top)}."),
        ),
        Fact("size", (f"The {top[0]} fills {size} of the section.", f"The {top[0]} takes up {size} of the body section.")),
    ]


def side_fact(name: str, side: str) -> Fact:
    return Fact("side", (f"The {name} lies on the {side} of the picture.", f"The {side} side of the picture holds the {name}."))


def orientation_fact(plane: str, flip: bool) -> Fact:
    """Where the person's right (or front) is in the picture; `cut` puts it at the left, a flip at the right."""
    end, side = "front" if plane == "sagittal" else "right side", "right" if flip else "left"
    return Fact(
        "orientation",
        (f"The {end} of the person is on the {side} of the picture.", f"In the picture the person's {end} is at the {side}."),
    )


def extent_fact(size_cm: tuple[float, float]) -> Fact:
    """Height and width of the body's bounding box, rounded to whole centimetres."""
    height, width = (round(length) for length in size_cm)
    return Fact(
        "extent",
        (f"The section is about {width} centimetres wide and {height} tall.", f"It measures about {width} by {height} centimetres."),
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
        Fact("quarter", (f"The {brightest} quarter of the picture is the brightest.", f"It is brightest in the {brightest} quarter.")),
        Fact("grey", (f"The mean grey level is {grey} of white.", f"On average a pixel has {grey} of full brightness.")),
    ]


def box_fact(row: int, column: int, side: int) -> Fact:
    """Quarter of the picture that holds the centre of the white box."""
    where = f"{'upper' if row < side / 2 else 'lower'} {'left' if column < side / 2 else 'right'}"
    return Fact("box", (f"The white box lies in the {where} quarter.", f"A white box is drawn in the {where} of the picture."))


def label_fact(label: str) -> Fact:
    """The physicians' label of a film."""
    return Fact("label", (f"The physicians' reading of this film is {label}.", f"It was read as {label}."))


def mirror_fact(mirrored: bool) -> Fact:
    if mirrored:
        return Fact("mirrored", ("The film is mirrored left to right.", "It was mirrored, so left and right are swapped."))
    return Fact("mirrored", ("The film is not mirrored.", "It keeps its sides as they were taken."))


def lung_fact(share: float) -> Fact:
    return Fact("lungs", (f"Both lung fields fill {percent(share)} of the picture.", f"The outlined lungs take {percent(share)} of the film."))


def larger_lung_fact(side: str) -> Fact:
    return Fact("larger lung", (f"The {side} lung field of the picture is the larger one.", f"The larger lung field is on the {side}."))
