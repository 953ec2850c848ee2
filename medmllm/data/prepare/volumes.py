"""The eight CT and MR volumes, each turned so that its axes run to the right, the front and the top (RAS)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphalign.extras import pip_line
from medmllm.data.prepare.anatomy import read_classes
from medmllm.data.prepare.archives import NILEARN, PYRADIOMICS, TOTALSEGMENTATOR
from medmllm.errors import MissingExtraError

REFERENCE = "totalsegmentator-2.18.0/tests/reference_files"
CLASSES = "totalsegmentator-2.18.0/totalsegmentator/map_to_binary.py"
TEMPLATE = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True, slots=True)
class Volume:
    """One person's volume (for the brain template: the average of 152 people).

    Attributes:
        subject: name of the person in the records.
        source: `Archive.source`.
        role: "train" (cut into training, validation and test slabs) or "test" (whole person held out).
        data: float32 (x, y, z), Hounsfield units for CT; axes run to the right, the front, the top.
        labels: uint8 mask of `data`'s shape, 0 where nothing is outlined.
        spacing: millimetres along x, y, z.
        modality: "CT" or "MR".
        region: what the scan covers, in words.
        names: spoken name of each mask value.
        complete: whether the mask outlines so many structures that the largest of them is worth asking for.
        strides: every how many slices one is taken, by plane; a plane that is not named is not cut.
        views: pictures of each slice, which differ in window, flip and placement.
        offset: where the held-out slabs begin, as a share of the stack.
    """

    subject: str
    source: str
    role: str
    data: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    modality: str
    region: str
    strides: dict[str, int]
    names: dict[int, str] = field(default_factory=dict)
    complete: bool = False
    views: int = 1
    offset: float = 0.02


def optional(name: str) -> ModuleType:
    """Import a reader that only the build needs; raises MissingExtraError with the way to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"{name} is not installed", hint=pip_line("prepare")) from error


def read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Array in RAS order and its affine (voxel index to millimetres)."""
    nibabel = optional("nibabel")
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj), image.affine


def read_nrrd(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Array in RAS order and its spacing, of a file whose axes follow the body's."""
    data, header = optional("nrrd").read(str(path))
    steps = np.diag(header["space directions"])
    for axis, sign in enumerate((-1, -1, 1)):  # the file counts to the left, the back and the top
        if np.sign(steps[axis]) != sign:
            data = np.flip(data, axis)
    x, y, z = (float(step) for step in np.abs(steps))
    return data.astype(np.float32), (x, y, z)


def read_dicom(folder: Path) -> NDArray[np.float32]:
    """Hounsfield units in RAS order of an axial series (row and column axes to the left and the back)."""
    dcmread = optional("pydicom").dcmread
    files = sorted((dcmread(path) for path in sorted(folder.iterdir())), key=lambda d: float(d.ImagePositionPatient[2]))
    slices = [d.pixel_array.T * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in files]
    return np.stack(slices, -1)[::-1, ::-1].astype(np.float32)


def paste(
    mask: NDArray[Any], affine: NDArray[np.float64], shape: tuple[int, ...], onto: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The cropped mask at its place in a boolean array of `shape`; both grids share spacing and axes."""
    start = np.round(np.linalg.inv(onto) @ affine[:, 3]).astype(int)[:3]
    whole = np.zeros(shape, bool)
    whole[tuple(slice(s, s + n) for s, n in zip(start, mask.shape, strict=True))] = mask > 0
    return whole


def abdomen_pelvis(root: Path) -> Volume:
    """CT of abdomen and pelvis, 122 x 101 x 112 at 3 mm; 62 structures outlined."""
    data, _ = read_nifti(root / REFERENCE / "example_ct.nii.gz")
    labels, _ = read_nifti(root / REFERENCE / "example_seg_fast_force_split.nii.gz")
    return Volume(
        subject="ct-abdomen-pelvis",
        source=TOTALSEGMENTATOR.source,
        role="train",
        data=data.astype(np.float32),
        spacing=(3.0, 3.0, 3.0),
        modality="CT",
        region="abdomen and the pelvis",
        strides={"axial": 1, "coronal": 1, "sagittal": 1},
        labels=labels.astype(np.uint8),
        names=read_classes(root / CLASSES, "total"),
        complete=True,
        views=4,
        offset=0.12,
    )


def chest(root: Path) -> Volume:
    """Contrast CT of the chest, 233 x 167 x 191 at 1.5 mm; heart and aorta outlined."""
    data, affine = read_nifti(root / REFERENCE / "aorta_report/example_ct.nii.gz")
    heart, _ = read_nifti(root / REFERENCE / "pulmonary_report/models/heart.nii.gz")
    aorta, place = read_nifti(root / REFERENCE / "aorta_report/test_result/models/aorta.nii.gz")
    labels = (heart > 0).astype(np.uint8)
    labels[paste(aorta, place, data.shape, affine)] = 2
    return Volume(
        subject="ct-chest",
        source=TOTALSEGMENTATOR.source,
        role="train",
        data=data.astype(np.float32),
        spacing=(1.5, 1.5, 1.5),
        modality="CT",
        region="chest",
        strides={"axial": 2, "coronal": 2, "sagittal": 2},
        labels=labels,
        names={1: "heart", 2: "aorta"},
        views=2,
        offset=0.43,
    )


def upper_abdomen(root: Path) -> Volume:
    """CT of the upper abdomen, 20 axial slices of 512 x 512; 31 structures outlined."""
    labels, _ = read_nifti(root / REFERENCE / "example_seg_dicom.nii.gz")
    return Volume(
        subject="ct-upper-abdomen",
        source=TOTALSEGMENTATOR.source,
        role="test",
        data=read_dicom(root / REFERENCE / "example_ct_dicom"),
        spacing=(0.977, 0.977, 2.0),
        modality="CT",
        region="upper abdomen",
        strides={"axial": 1},
        labels=labels.astype(np.uint8),
        names=read_classes(root / CLASSES, "total"),
        complete=True,
        views=6,
    )


def abdomen_mr(root: Path) -> Volume:
    """MR of the abdomen, 117 x 91 x 20 at 3 mm; 23 structures outlined."""
    data, _ = read_nifti(root / REFERENCE / "example_mr_sm.nii.gz")
    labels, _ = read_nifti(root / REFERENCE / "example_seg_mr.nii.gz")
    return Volume(
        subject="mr-abdomen",
        source=TOTALSEGMENTATOR.source,
        role="test",
        data=data.astype(np.float32),
        spacing=(3.0, 3.0, 3.0),
        modality="MR",
        region="abdomen",
        strides={"axial": 1},
        labels=labels.astype(np.uint8),
        names=read_classes(root / CLASSES, "total_mr"),
        complete=True,
        views=4,
    )


def brain_template(root: Path) -> Volume:
    """T1 average of 152 brains at 1 mm, labelled where gray or white matter is above 70 % of its maximum."""
    data, _ = read_nifti(root / TEMPLATE.format("t1"))
    gray, _ = read_nifti(root / TEMPLATE.format("gm"))
    white, _ = read_nifti(root / TEMPLATE.format("wm"))
    labels = (gray > 0.7 * gray.max()).astype(np.uint8)
    labels[white > 0.7 * white.max()] = 2
    return Volume(
        subject="mr-brain-average",
        source=NILEARN.source,
        role="train",
        data=data.astype(np.float32),
        spacing=(1.0, 1.0, 1.0),
        modality="MR",
        region="head",
        strides={"axial": 2, "coronal": 2, "sagittal": 2},
        labels=labels,
        names={1: "gray matter", 2: "white matter"},
        offset=0.22,
    )


def radiomics(root: Path, name: str, modality: str, role: str, views: int, offset: float) -> Volume:
    """One of the four volumes without a mask of organs; its tumour outline is not used."""
    data, spacing = read_nrrd(root / f"pyradiomics-3.1.0/data/{name}_image.nrrd")
    return Volume(
        subject=f"{modality.lower()}-{name}",
        source=PYRADIOMICS.source,
        role=role,
        data=data,
        labels=np.zeros(data.shape, np.uint8),
        spacing=spacing,
        modality=modality,
        region="chest" if modality == "CT" else "head",
        strides={"axial": 1, "coronal": 6, "sagittal": 6},
        views=views,
        offset=offset,
    )


def load_volumes(root: Path) -> Iterator[Volume]:
    """The volumes one after the other, from the folder that the archives were unpacked into."""
    yield abdomen_pelvis(root)
    yield chest(root)
    yield brain_template(root)
    yield radiomics(root, "lung1", "CT", "train", 2, 0.02)
    yield radiomics(root, "brain1", "MR", "train", 2, 0.42)
    yield upper_abdomen(root)
    yield abdomen_mr(root)
    yield radiomics(root, "lung2", "CT", "test", 2, 0.0)
    yield radiomics(root, "brain2", "MR", "test", 1, 0.0)
