"""Does a model look at the image? The same questions with no image, with noise, and with the image of somebody else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmllm.data.records import Record
from medmllm.data.source import Images
from medmllm.data.subset import rank
from medmllm.errors import DataError
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.exam import SILENT, Asked, Exam
from medmllm.evaluate.loading import looking_at
from medmllm.evaluate.report import Scored, score_figures, score_items
from medmllm.evaluate.scores import Sample
from medmllm.run.callbacks import Listener

CHANGES = ("blank", "noise", "shuffled")
GREY = (128, 128, 128)


@dataclass(frozen=True)
class ChangedImages:
    """The images of a source, changed.

    Attributes:
        source: where the real ones come from.
        how: "blank" (grey), "noise" (every pixel drawn evenly) or "shuffled" (that of somebody else).
        partners: image -> a record of somebody else, for "shuffled".
        seed: of the noise.
    """

    source: Images
    how: str
    partners: dict[str, Record]
    seed: int = 0

    def image(self, record: Record) -> Image.Image:
        """The changed image of a record; always the same one, and of the size of the one that is shown."""
        if self.how == "shuffled":
            return self.source.image(self.partners[record.image])
        size = self.source.image(record).size
        if self.how == "blank":
            return Image.new("RGB", size, GREY)
        digest = hashlib.sha256(f"{self.seed} {record.image}".encode()).digest()
        pixels = np.random.default_rng(int.from_bytes(digest[:8], "little")).integers(0, 256, (size[1], size[0], 3))
        return Image.fromarray(pixels.astype(np.uint8))


def partners(records: Sequence[Record], *, seed: int = 0) -> dict[str, Record]:
    """For each image a record about somebody else.

    Images are put in a seeded circle, and each gets the next one on it that shows another subject. $O(n)$ for people
    with few images each.

    Raises:
        DataError: all records are about one subject.
    """
    by_image = {record.image: record for record in reversed(records)}
    circle = [by_image[name] for name in sorted(by_image, key=lambda name: rank(f"exgra partners {seed}", name))]
    if len({record.person for record in circle}) < 2:
        told = "all questions are about one person or image, so no image of somebody else can be shown"
        raise DataError(told, hint="ask about more people: raise --limit, or choose another split")
    count, found = len(circle), {}
    for i, record in enumerate(circle):
        others = (circle[(i + step) % count] for step in range(1, count))
        found[record.image] = next(other for other in others if other.person != record.person)
    return found


def probe(run: Path | str, asked: Asked, *, out: Path | None = None, listener: Listener = SILENT) -> dict[str, Any]:
    """Scores the answers to the real images beside those to changed ones.

    Returns:
        `{"n", "real": {"published", "strict", "intervals"}, "changed": {how: {..., "unchanged", "comparison"}}}` in
        percent. `unchanged` is the share of answers that stay word for word, and `comparison` the paired test of the
        real images against the changed ones. A model that looks at the image loses by each change; one whose figures
        stay has learned the questions. Kept, and taken up after a kill, as by `evaluate`: `eval/<name>.reliance.json`.
    """
    exam = Exam.open(run, asked, out=out, listener=listener)
    names = {how: f"{asked.name}.{how}" for how in CHANGES}
    others = partners(exam.records)
    listener.message(f"{exam.model} answers {len(exam.records)} questions of {asked.data}, four times")
    real = exam.answer(f"{asked.name}.real", listener=listener)
    samples = {
        how: exam.answer(name, looking_at(exam.asker, ChangedImages(exam.source, how, others)), listener=listener)
        for how, name in names.items()
    }
    scored = _scored(real)
    told = {"n": len(real), "real": score_figures(scored)}
    told["changed"] = {how: _changed(real, scored, changed) for how, changed in samples.items()}
    if exam.place:
        exam.place.write_json(f"eval/{asked.name}.reliance.json", told)
        for name in (f"{asked.name}.real", *names.values()):
            exam.done(name)
    return told


def _changed(real: Sequence[Sample], scored: Sequence[Scored], changed: Sequence[Sample]) -> dict[str, Any]:
    same = sum(one.prediction == other.prediction for one, other in zip(real, changed, strict=True))
    others = _scored(changed)
    comparison = compare_systems(scored, others)
    return {**score_figures(others), "unchanged": 100 * same / len(real), "comparison": comparison}


def _scored(samples: Sequence[Sample]) -> list[Scored]:
    return score_items([sample.item for sample in samples])
