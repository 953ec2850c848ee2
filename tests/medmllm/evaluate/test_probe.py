"""Changed images are what they are called, and a model that looks is distinguished from one that does not."""

import json

import numpy as np
import pytest
from PIL import Image

from medmllm.data.records import Record
from medmllm.data.sources import open_source
from medmllm.errors import DataError
from medmllm.evaluate import probe as module
from medmllm.evaluate.exam import Asked, Exam
from medmllm.evaluate.probe import CHANGES, ChangedImages, partners, probe


def record(number, subject=""):
    return Record(str(number), f"{number}.png", (("Dark?", "yes" if number < 5 else "no"),), "", "", "closed", subject)


class Grey:
    def image(self, record):
        return Image.new("RGB", (6, 4), (25 * int(record.id),) * 3)


def test_blank_and_noise_show_nothing_of_the_image():
    one, other = record(1), record(2)
    for how in ("blank", "noise"):
        changed = ChangedImages(Grey(), how, {})
        assert changed.image(one).size == (6, 4)
        assert np.array_equal(changed.image(one), changed.image(one))
    assert np.unique(ChangedImages(Grey(), "blank", {}).image(one)).tolist() == [128]
    noise = ChangedImages(Grey(), "noise", {})
    assert not np.array_equal(noise.image(one), noise.image(other))


def test_everybody_gets_the_image_of_somebody_else():
    records = [record(i, f"s{i // 3}") for i in range(9)] + [
        Record("again", "0.png", (("?", "x"),), "", "", subject="s0")
    ]
    found = partners(records)
    assert set(found) == {r.image for r in records}
    assert all(found[r.image].subject != r.subject for r in records)
    shown = {image: other.image for image, other in found.items()}
    assert shown == {image: other.image for image, other in partners(records[::-1]).items()}
    assert shown != {image: other.image for image, other in partners(records, seed=1).items()}
    with pytest.raises(DataError, match="one person"):
        partners(records[:3])


class Looks:
    """Answers by the brightness of the image, or always the same."""

    def __init__(self, looking):
        self.looking = looking

    def answer(self, exam, name, asker=None, **_):
        source = asker.source if asker else exam.source
        pixels = [np.asarray(source.image(r), float).mean() for r in exam.records]
        said = ["yes" if self.looking and value < 100 else "no" for value in pixels]
        return [module.Sample(r, text) for r, text in zip(exam.records, said, strict=True)]


@pytest.mark.parametrize(("looking", "lost"), [(True, 40), (False, 0)])
def test_who_looks_loses_by_a_change(monkeypatch, tmp_path, looking, lost):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Asker:
        source: object

    records = tuple(record(i) for i in range(10))
    exam = type("FakeExam", (), {})()
    exam.__dict__.update(asked=Asked(), model="m", records=records, source=Grey(), asker=Asker(Grey()), place=None)
    exam.data = "made up"
    exam.answer = lambda name, asker=None, **_: Looks(looking).answer(exam, name, asker)
    monkeypatch.setattr(Exam, "open", classmethod(lambda cls, *_, **__: exam))
    monkeypatch.setattr(module, "looking_at", lambda asker, source: Asker(source))
    told = probe(tmp_path, Asked())
    for how in CHANGES:
        gain = told["changed"][how]["comparison"]["strict"]["closed_accuracy"]["difference"]
        assert gain >= lost if looking else gain == 0
        assert (told["changed"][how]["unchanged"] == 100.0) == (not looking)


def test_a_run_is_probed_and_the_result_kept(finished, tmp_path):
    told = probe(finished, Asked(limit=4, max_new_tokens=2), out=tmp_path)
    assert told["n"] == 4
    assert set(told["changed"]) == set(CHANGES)
    assert json.loads((tmp_path / "eval" / "test_limit4.reliance.json").read_text()) == told
    assert [path.name for path in (tmp_path / "eval").iterdir()] == ["test_limit4.reliance.json"]


def test_changed_images_reach_the_model(finished, tiny):
    exam = Exam.open(finished, Asked())
    real = exam.asker.questions(exam.records)
    blank = module.looking_at(exam.asker, ChangedImages(exam.source, "blank", {})).questions(exam.records)
    assert real["input_ids"].equal(blank["input_ids"])
    assert not real["pixel_values"].allclose(blank["pixel_values"])
    assert len(open_source(tiny().data).records("test")) == len(exam.records)
