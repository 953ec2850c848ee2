"""RadFM's tables and volumes.

A row with one image is of the table that its `VQA_Dataset` reads: `img_root_dir,Figure_path,Question,Answer`. A row
with several is of the one that `RadioVQA_Dataset` reads, `image_path,question,answer`, whose paths name arrays of
images x 3 x 512 x 512 x slices. Other columns are not read.

Its test script shuffles the rows, writes no ids, and leaves out rows that failed. It does write the answer of the table
beside its own, so `<split>_keyed.csv` has the id before each answer, `{id=17} yes`: what it writes is then paired row
by row. The model does not see the answer.

References:
    Wu et al., "Towards generalist foundation model for radiology by leveraging web-scale 2D&3D medical data", 2023;
    https://github.com/chaoyi-wu/RadFM: src/Dataset/dataset/vqa.py, radiopaedia.py, src/Dataset/multi_dataset_test.py,
    src/test.py.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graphalign.counts import count_of
from medmllm.data.comparators.questions import QUESTIONS, Question, load_picture
from medmllm.errors import DataError

SIDE = 512  # pixels
DEEPEST = 64  # slices of a volume
MOST_IMAGES = 8  # of a question; of more its test draws as many at random
_VOLUMES = "volumes"
_FLAT = ("img_root_dir", "Figure_path", "Question", "Answer", "id")
_DEEP = ("image_path", "question", "answer", "id")


def write_radfm(out: Path, splits: Mapping[str, Sequence[Question]], home: Path) -> list[str]:
    """Write the tables of each split, with and without ids before the answers, and the volumes.

    Args:
        out: the folder; its folder of questions holds the images.
        splits: questions by split.
        home: where the folder will be, which the tables name.

    Returns:
        Warnings: images that RadFM will not see as they are, one line each.

    Raises:
        DataError: all pixels of a volume are equal; an id cannot stand before an answer.
    """
    warnings, written = list[str](), dict[tuple[tuple[str, ...], ...], str]()
    for split, questions in splits.items():
        flat = [one for one in questions if len(one.images) == 1]
        deep = [one for one in questions if len(one.images) > 1]
        rows = [(str(home / QUESTIONS), one.images[0], one.record.question, one.record.answer, one.id) for one in flat]
        volumes = [
            (str(home / _volume(out, one, written)), one.record.question, one.record.answer, one.id) for one in deep
        ]
        _write_tables(out, split, _FLAT, rows)
        _write_tables(out, f"{split}_volumes", _DEEP, volumes)
        if crowded := sum(len(one.volumes) > MOST_IMAGES for one in deep):
            warnings.append(f"{split}: RadFM draws {MOST_IMAGES} random images of {count_of(crowded, 'row')} with more")
    return warnings


def key_answer(number: str, answer: str) -> str:
    """An answer with the id of its row, by which what RadFM's test script writes is paired again."""
    return f"{{id={number}}} {answer}"


def volume_array(volumes: Sequence[Sequence[Image.Image]]) -> NDArray[np.uint8]:
    """Images as RadFM reads them: (images, 3, 512, 512, slices), 0 to 255.

    Each slice is resized to 512 x 512, whatever its shape, as RadFM does itself. Of more than 64 slices as many are
    taken, evenly spaced. Where the images have different numbers of slices, those of the shallower ones are repeated.
    RadFM brings the values of the array to 0...1 by its least and largest when it is loaded.

    Raises:
        ValueError: all values are equal, which RadFM replaces by noise.
    """
    depth = min(DEEPEST, max(map(len, volumes)))
    found = np.stack([_one_volume(slices, depth) for slices in volumes])
    if found.min() == found.max():
        raise ValueError("all pixels are equal, and RadFM replaces such images by noise")
    return found


def _one_volume(slices: Sequence[Image.Image], depth: int) -> NDArray[np.uint8]:
    chosen = [slices[int((number + 0.5) * len(slices) / depth)] for number in range(depth)]
    resized = [picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR) for picture in chosen]
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in resized], axis=-1)


def _volume(out: Path, question: Question, written: dict[tuple[tuple[str, ...], ...], str]) -> str:
    """The file of a question's images, below the folder; questions about the same images share one."""
    if question.volumes not in written:
        name = f"{_VOLUMES}/{len(written) + 1:06d}.npy"
        (out / _VOLUMES).mkdir(exist_ok=True)
        volumes = [[load_picture(out / QUESTIONS, name) for name in slices] for slices in question.volumes]
        try:
            np.save(out / name, volume_array(volumes))
        except ValueError as cause:
            raise DataError(str(cause), where=f"{question.record.split}: {question.record.id}") from cause
        written[question.volumes] = name
    return written[question.volumes]


def _write_tables(out: Path, name: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    answer = -2  # the last but one column
    keyed = [(*row[:answer], key_answer(row[-1], row[answer]), row[-1]) for row in rows]
    for path, content in ((out / f"{name}.csv", rows), (out / f"{name}_keyed.csv", keyed)):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *content])
