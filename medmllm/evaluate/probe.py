"""Does a model look at the image? The same questions with no image, with noise, and with the image of somebody else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphalign.counts import count_of
from medmllm.data.records import Record, each_image
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
        only: which of a record's images, by its number from 0, is changed; all where None.
        shown: images of each record by its id, for `only`.
    """

    source: Images
    how: str
    partners: dict[str, Record]
    seed: int = 0
    only: int | None = None
    shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def image(self, record: Record) -> Image.Image:
        """The changed image of a record; always the same one, and of the size of the one that is shown."""
        if self.only is not None and self.shown[record.id].index(record.image) != self.only:
            return self.source.image(record)
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
    by_image = {record.image: record for record in reversed(each_image(records))}
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
        stay has learned the questions. Where questions have several images, `each_image` lists for the first, the
        second ... what blanking it alone does, over the questions that have so many: `{"number", "n", "real", ...}`,
        the rest as in `changed`. It says which image is used. Kept, and resumed after a kill, as by `evaluate`:
        `eval/<name>.reliance.json`.
    """
    exam = Exam.open(run, asked, out=out, listener=listener)
    names = {how: f"{asked.name}.{how}" for how in CHANGES}
    others = partners(exam.records)
    shown = {record.id: record.first_turn().images for record in exam.records}
    most = max(map(len, shown.values()))
    more = "" if most < 2 else f" and {count_of(most, 'time')} with one image blank"
    questions = count_of(len(exam.records), "question")
    listener.message(f"{exam.model} answers {questions} of {exam.data} with the real image and 3 changed ones{more}")
    real = exam.answer(f"{asked.name}.real", listener=listener)
    samples = {
        how: exam.answer(name, looking_at(exam.asker, ChangedImages(exam.source, how, others)), listener=listener)
        for how, name in names.items()
    }
    scored = _scored(real)
    told: dict[str, Any] = {"n": len(real), "data": exam.data, "real": score_figures(scored)}
    told["changed"] = {how: _changed(real, scored, changed) for how, changed in samples.items()}
    alone = {number: f"{asked.name}.blank-{number + 1}" for number in range(most)} if most > 1 else {}
    if alone:
        blanks = {n: ChangedImages(exam.source, "blank", others, only=n, shown=shown) for n in alone}
        told["each_image"] = [_one_blank(exam, real, blanks[n], name, listener) for n, name in alone.items()]
    if exam.place:
        exam.place.write_json(f"eval/{asked.name}.reliance.json", told)
        for name in (f"{asked.name}.real", *names.values()):
            exam.done(name)
        for number, name in alone.items():
            _with_image(exam, shown, number).done(name)
    return told


def _with_image(exam: Exam, shown: Mapping[str, tuple[str, ...]], number: int) -> Exam:
    """The exam with the questions that have an image of this number."""
    return replace(exam, records=[record for record in exam.records if len(shown[record.id]) > number])


def _one_blank(
    exam: Exam, real: Sequence[Sample], images: ChangedImages, name: str, listener: Listener
) -> dict[str, Any]:
    """What blanking the images of one number does to the questions that have it."""
    assert images.only is not None
    part = _with_image(exam, images.shown, images.only)
    changed = part.answer(name, looking_at(exam.asker, images), listener=listener)
    ids = {record.id for record in part.records}
    own = [sample for sample in real if sample.record.id in ids]
    scored = _scored(own)
    return {"number": images.only + 1, "n": len(own), "real": score_figures(scored), **_changed(own, scored, changed)}


def _changed(real: Sequence[Sample], scored: Sequence[Scored], changed: Sequence[Sample]) -> dict[str, Any]:
    same = sum(one.prediction == other.prediction for one, other in zip(real, changed, strict=True))
    others = _scored(changed)
    comparison = compare_systems(scored, others)
    return {**score_figures(others), "unchanged": 100 * same / len(real), "comparison": comparison}


def _scored(samples: Sequence[Sample]) -> list[Scored]:
    return score_items([sample.item for sample in samples])
