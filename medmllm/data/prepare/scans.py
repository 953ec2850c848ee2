"""Pictures, facts and questions of the CT and MR volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medmllm.data.prepare import facts
from medmllm.data.prepare.anatomy import GENERAL, ORGANS, SIDED
from medmllm.data.prepare.chance import fraction, shuffled
from medmllm.data.prepare.pictures import Fact, Picture, Question
from medmllm.data.prepare.slices import (
    AXES,
    SIDE,
    WINDOWS,
    Section,
    body_section,
    cut,
    pixel_spacing,
    place,
    shade,
    side_of,
    slab_split,
    third_of,
    tissue_shares,
    window_limits,
)
from medmllm.data.prepare.volumes import Volume

VISIBLE = 0.008  # share of the body's area from which a structure counts as visible
BOX = 5  # pixels from the centre of a marker's box to its edge
LONG_SCAN = 100.0  # millimetres from which thirds of the scanned range differ enough to ask for


@dataclass(frozen=True, slots=True)
class View:
    """One rendering of one slice: where it was cut, how it is shown, and what is known of it.

    Attributes:
        volume, plane, index, split: where the slice comes from.
        window: display window of a CT, None for MR.
        flip: whether left and right are swapped.
        section: the slice as placed in the picture.
        masks: where each outlined structure lies in the picture.
        shares: each structure's part of the body's area.
        absent: structures of the mask's list that the slice does not touch, at full resolution.
        third: third of the scanned range, None where it is not asked for.
        tissues: share of each tissue in the body, empty for MR.
    """

    volume: Volume
    plane: str
    index: int
    split: str
    window: str | None
    flip: bool
    section: Section
    masks: dict[str, NDArray[np.bool_]]
    absent: set[str]
    third: str | None
    tissues: dict[str, float]
    shares: dict[str, float]


def volume_pictures(volume: Volume) -> Iterator[Picture]:
    """Every view of every slice that shows enough of the body, each with its marked copies."""
    bright = float(np.percentile(volume.data[volume.data > volume.data.min()], 99.5))
    for plane, index, split in stack(volume):
        for number, view in enumerate(slice_views(volume, plane, index, split, bright)):
            name = f"{volume.subject}-{plane}-{index:03d}-{number}"
            picture = view_picture(view, name, bright)
            yield picture
            yield from marked(picture, view)


def stack(volume: Volume) -> Iterator[tuple[str, int, str]]:
    """Plane, index and split of every slice that is used."""
    for plane, stride in volume.strides.items():
        axis = AXES[plane]
        count = volume.data.shape[axis]
        for index in range(0, count, stride):
            split = "test" if volume.role == "test" else slab_split(index, count, volume.spacing[axis], volume.offset)
            if split:
                yield plane, index, split


def slice_views(volume: Volume, plane: str, index: int, split: str, bright: float) -> Iterator[View]:
    """The views of one slice; none where too little of the body is cut."""
    values, labels = cut(volume.data, plane, index), cut(volume.labels, plane, index)
    found = body_section(values, labels, pixel_spacing(volume.spacing, plane), volume.modality, bright)
    if found is None:
        return
    tissues = tissue_shares(found.values, found.body) if volume.modality == "CT" else {}
    absent = set(volume.names.values()) - {volume.names[value] for value in np.unique(labels[labels > 0])}
    for number in range(volume.views):
        key = volume.subject, plane, index, number
        flip = fraction(*key, "flip") < 0.5
        placed = place(found, flip, *key)
        masks = structure_masks(placed.labels, volume.names)
        area = int(placed.body.sum())
        shares = {name: float(mask.sum()) / area for name, mask in masks.items()}
        window, third = view_window(volume, plane, index, number), level(volume, plane, index)
        yield View(volume, plane, index, split, window, flip, placed, masks, absent, third, tissues, shares)


def structure_masks(labels: NDArray[np.uint8], names: dict[int, str]) -> dict[str, NDArray[np.bool_]]:
    """Mask of each named structure; both sides of a paired one together."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for value in np.unique(labels[labels > 0]):
        name = names[int(value)]
        masks[name] = masks.get(name, np.zeros(labels.shape, bool)) | (labels == value)
    return masks


def view_window(volume: Volume, plane: str, index: int, number: int) -> str | None:
    """Windows take turns over the views of a CT slice, from a random first one."""
    if volume.modality != "CT":
        return None
    first = int(fraction(volume.subject, plane, index, "window") * len(WINDOWS))
    return list(WINDOWS)[(first + number) % len(WINDOWS)]


def level(volume: Volume, plane: str, index: int) -> str | None:
    """Third of the scanned range of an axial slice, where the scan is long."""
    count = volume.data.shape[2]
    long = count * volume.spacing[2] >= LONG_SCAN
    return third_of(index, count) if plane == "axial" and long else None


def view_picture(view: View, name: str, bright: float) -> Picture:
    """The rendered view with its facts and candidate questions."""
    limits = window_limits(view.window) if view.window else (0.0, bright)
    pixels = shade(view.section.values, *limits)
    window = "lung window" if view.window == "lung" else view.window
    topics = (view.plane, window, view.volume.modality, *sorted(view.masks))
    return Picture(
        name=name,
        pixels=pixels,
        subject=view.volume.subject,
        source=view.volume.source,
        split=view.split,
        facts=(*slice_facts(view), *facts.brightness_facts(pixels)),
        questions=tuple(slice_questions(view)),
        general=tuple(topic for topic in topics if topic and topic in GENERAL),
    )


def slice_facts(view: View) -> Iterator[Fact]:
    """The facts known of the slice, whatever the question."""
    yield facts.modality_fact(view.volume.modality, view.volume.region)
    yield facts.plane_fact(view.plane)
    yield facts.orientation_fact(view.plane, view.flip)
    yield facts.extent_fact(view.section.size_cm)
    yield from facts.structure_facts(view.shares)
    if view.window:
        yield facts.window_fact(view.window)
        yield facts.tissue_fact(view.tissues)
    if view.third:
        yield facts.level_fact(view.third)
    for name, side in sides(view):
        yield facts.side_fact(name, side)


def sides(view: View) -> Iterator[tuple[str, str]]:
    """One-sided organs that are clearly on one side of the picture."""
    for name in SIDED:
        if view.plane != "sagittal" and view.shares.get(name, 0) > VISIBLE:
            side = side_of(view.masks[name], view.section.body)
            if side:
                yield name, side


def slice_questions(view: View) -> Iterator[Question]:
    """Every question whose answer is clear in this view."""
    yield Question("plane", view.plane)
    if view.window:
        yield Question("window", view.window)
    if view.third:
        yield Question("level", view.third)
    yield from clear_winner("tissue", view.tissues)
    if view.volume.complete:
        yield from clear_winner("largest structure", view.shares)
    for organ in ORGANS:
        if view.shares.get(organ, 0) > VISIBLE:
            yield Question("organ present", "yes", organ)
        elif organ in view.absent:
            yield Question("organ present", "no", organ)
    for name, side in sides(view):
        yield Question("side", side, name)


def clear_winner(kind: str, shares: dict[str, float]) -> Iterator[Question]:
    """The question for the largest share, where it is at least 15 % larger than the second."""
    ranked = sorted(shares, key=lambda name: (-shares[name], name))
    if ranked and (len(ranked) == 1 or shares[ranked[0]] > 1.15 * shares[ranked[1]]):
        yield Question(kind, ranked[0])


def marked(picture: Picture, view: View) -> Iterator[Picture]:
    """A copy of the picture with a white box whose centre lies well inside one structure."""
    inner = {name: ndimage.binary_erosion(mask, iterations=2) for name, mask in view.masks.items()}
    names = sorted(name for name, mask in inner.items() if mask.sum() > 3)
    for name in shuffled(names, picture.name, "marker")[:1]:
        row, column = shuffled(np.argwhere(inner[name]).tolist(), picture.name, name)[0]
        box = facts.box_fact(row, column, SIDE)
        yield replace(
            picture,
            name=f"{picture.name}-box",
            pixels=draw_box(picture.pixels, row, column),
            facts=(*picture.facts, box),
            questions=(Question("marker", name),),
        )


def draw_box(pixels: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    """A white box with a black line around it, so that it shows on any ground."""
    drawn = pixels.copy()
    for size, grey in ((BOX + 1, 0), (BOX, 255)):
        top, left = max(0, row - size), max(0, column - size)
        inside = drawn[top + 1 : row + size, left + 1 : column + size].copy()
        drawn[top : row + size + 1, left : column + size + 1] = grey
        drawn[top + 1 : row + size, left + 1 : column + size] = inside
    return drawn
