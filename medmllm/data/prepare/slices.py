"""From a volume to slices: planes, slabs, the body's outline, display windows and placement in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medmllm.data.prepare.chance import fraction

SIDE = 112  # pixels of a picture's side
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
WINDOWS = {"soft tissue": (40.0, 400.0), "lung": (-600.0, 1500.0), "bone": (500.0, 2000.0)}  # centre, width in HU
TISSUES = {"air": (-np.inf, -500.0), "fat": (-200.0, -20.0), "soft tissue": (-20.0, 180.0), "bone": (180.0, np.inf)}
SLAB = 0.06  # held-out slab, share of the stack
GUARD = 0.03  # dropped on either side of a slab, share of the stack
GUARD_MM = 5.0  # and at least this far


@dataclass(frozen=True, slots=True)
class Section:
    """One slice on the square canvas: values (HU or raw intensity), the body's mask, the structure labels."""

    values: NDArray[np.float32]
    body: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    size_cm: tuple[float, float]


def slab_split(position: int, count: int, spacing: float, offset: float) -> str | None:
    """Split of a slice of a training volume, by its place in the stack.

    Two slabs of 6 % go to "test_slab" (from `offset` and from `offset + 0.5`), one to "validation" (from
    `offset + 0.25`). A guard band of 3 % of the stack and at least 5 mm beside each slab is dropped.

    Args:
        position: index of the slice.
        count: slices in the stack.
        spacing: millimetres between slices.
        offset: share of the stack at which the first slab begins, below 0.44.

    Returns:
        The split, or None inside a guard band.
    """
    place, guard = position / count, max(GUARD, 1.01 * max(spacing, GUARD_MM) / (spacing * count))
    for name, start in (("test_slab", offset), ("validation", offset + 0.25), ("test_slab", offset + 0.5)):
        if start <= place < start + SLAB:
            return name
        if start - guard <= place < start + SLAB + guard:
            return None
    return "train"


def cut(data: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """One slice of a RAS array as radiologists look at it.

    Axial and coronal: the person's right is at the left of the picture; axial: front at the top;
    coronal and sagittal: head at the top; sagittal: front at the left.
    """
    return np.take(data, index, axis=AXES[plane]).T[::-1, ::-1]


def pixel_spacing(spacing: tuple[float, float, float], plane: str) -> tuple[float, float]:
    """Millimetres between the rows and between the columns of `cut`'s picture."""
    column, row = (step for axis, step in enumerate(spacing) if axis != AXES[plane])
    return row, column


def body_mask(values: NDArray[np.float32], modality: str, bright: float) -> NDArray[np.bool_]:
    """Pixels inside the body: large connected parts above a threshold, holes filled.

    Args:
        values: a slice in HU (CT) or raw intensity (MR).
        modality: "CT" or "MR".
        bright: 99.5th percentile of the volume, the scale of an MR's threshold.
    """
    above = ndimage.binary_opening(values > (-300 if modality == "CT" else 0.12 * bright))
    parts, count = ndimage.label(above)
    if count == 0:
        return np.zeros(values.shape, bool)
    sizes = ndimage.sum_labels(above, parts, range(1, count + 1))
    large = 1 + np.flatnonzero(sizes >= max(0.12 * sizes.max(), 30))
    return ndimage.binary_fill_holes(np.isin(parts, large))


def bounding_box(mask: NDArray[np.bool_], margin: int = 2) -> tuple[slice, slice]:
    """Rows and columns that hold the mask, with a margin."""
    found = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    rows, columns = (slice(max(0, f[0] - margin), f[-1] + 1 + margin) for f in found)
    return rows, columns


def on_canvas(image: NDArray[Any], spacing: tuple[float, float], fill: float) -> NDArray[np.float32]:
    """The image scaled to square pixels, as large as fits, in the middle of the canvas.

    Integer images are labels and are scaled without mixing; float images are averaged.
    """
    height, width = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    scale = (SIDE - 4) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    labels = image.dtype.kind in "bu"
    pixels = Image.fromarray(image.astype(np.uint8 if labels else np.float32))
    scaled = np.asarray(pixels.resize(size, Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR))
    canvas = np.full((SIDE, SIDE), fill, np.float32)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas


def body_section(
    values: NDArray[np.float32], labels: NDArray[np.uint8], spacing: tuple[float, float], modality: str, bright: float
) -> Section | None:
    """The part of a slice that holds the body, on the canvas; None where too little of a body is cut.

    Args:
        values: float32 slice as `cut` gives it.
        labels: uint8 mask of the same shape.
        spacing: millimetres between rows and between columns.
        modality: "CT" or "MR".
        bright: as in `body_mask`.
    """
    body = body_mask(values, modality, bright)
    if body.sum() * spacing[0] * spacing[1] < 8000:  # square millimetres
        return None
    box = bounding_box(body, margin=0)
    height, width = (s.stop - s.start for s in box)
    if body.sum() < 0.12 * height * width:  # scattered crumbs, such as fingers or the table
        return None
    box = bounding_box(body)
    return Section(
        on_canvas(values[box], spacing, -1024.0 if modality == "CT" else 0.0),
        on_canvas(body[box], spacing, 0) > 0,
        on_canvas(labels[box], spacing, 0).astype(np.uint8),
        (height * spacing[0] / 10, width * spacing[1] / 10),
    )


def tissue_shares(values: NDArray[np.float32], body: NDArray[np.bool_]) -> dict[str, float]:
    """Share of the body's pixels in each range of Hounsfield units; what lies between the ranges counts nowhere."""
    inside = values[body]
    return {name: float(((inside >= low) & (inside < high)).mean()) for name, (low, high) in TISSUES.items()}


def place(found: Section, flip: bool, *key: object) -> Section:
    """The section turned by up to 10 degrees, made up to 1.2 times smaller, moved by up to 3 pixels, then flipped.

    The key decides the amounts. A flip mirrors left and right of values, body and labels together.
    """
    angle = np.deg2rad(20 * fraction(*key, "angle") - 10)
    scale = 1 + 0.2 * fraction(*key, "scale")
    shift = np.array([6 * fraction(*key, axis) - 3 for axis in ("row", "column")])
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (SIDE - 1) / 2)
    offset = middle - matrix @ middle + shift

    def moved(image: NDArray[Any], order: int, fill: float) -> NDArray[Any]:
        turned: NDArray[Any] = ndimage.affine_transform(image, matrix, offset, order=order, mode="constant", cval=fill)
        return turned[:, ::-1] if flip else turned

    values = moved(found.values, 1, float(found.values[0, 0]))
    body = moved(found.body.astype(np.uint8), 0, 0) > 0
    return Section(values, body, moved(found.labels, 0, 0), found.size_cm)


def shade(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Grey values 0 to 255 between two limits; what lies outside is clipped."""
    return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def window_limits(window: str) -> tuple[float, float]:
    """Hounsfield units shown black and white."""
    centre, width = WINDOWS[window]
    return centre - width / 2, centre + width / 2


def side_of(mask: NDArray[np.bool_], body: NDArray[np.bool_]) -> str | None:
    """Which side of the body's picture the mask's centre lies on; None within 8 % of the width of the middle."""
    columns = np.flatnonzero(body.any(0))
    middle, width = (columns[0] + columns[-1]) / 2, columns[-1] - columns[0] + 1
    offset = (np.nonzero(mask)[1].mean() - middle) / width
    return None if abs(offset) < 0.08 else "left" if offset < 0 else "right"


def third_of(position: int, count: int) -> str | None:
    """Lower, middle or upper third of an axial stack; None near a border between thirds."""
    place = position / (count - 1)
    for name, low, high in (("lower", 0.0, 0.30), ("middle", 0.36, 0.64), ("upper", 0.70, 1.0)):
        if low <= place <= high:
            return name
    return None
