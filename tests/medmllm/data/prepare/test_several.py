"""Questions over three slices: true, and not to be answered from the middle one, in made volumes and in what ships."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from medmllm.data.config import DataConfig
from medmllm.data.embedded_source import EMBEDDED_FOLDER, SLICES_FOLDER, EmbeddedSource
from medmllm.data.prepare.pictures import Picture, Question
from medmllm.data.prepare.several import COUNTS, image_name, several_rows, write_rows
from medmllm.data.sources import open_source
from medmllm.data.stats import stats

SPLITS = ("train", "validation", "test", "test_slab")
WINDOWS = ("soft tissue", "lung", "bone")


def made_pictures():
    """A volume of which slice n is in window n % 3, shows the liver from 8 on, on the left where n is even."""
    for plane in ("axial", "coronal"):
        for index in range(20):
            questions = [Question("plane", plane), Question("window", WINDOWS[index % 3])]
            questions.append(Question("organ present", "yes" if index >= 8 else "no", "liver"))
            if index >= 8:
                questions.append(Question("side", "right" if index % 2 else "left", "liver"))
            pixels = np.zeros((112, 112), np.uint8)
            name = f"ct-made-{plane}-{index:03d}-0"
            yield Picture(name, pixels, "ct-made", "made", "train", (), tuple(questions), ())


def place(image):
    """Plane and number of the slice of an image, from its name."""
    plane, index = image.removesuffix(".webp").rsplit("-", 3)[1:3]
    return plane, int(index)


@pytest.fixture(scope="module")
def made():
    pictures = list(made_pictures())
    images = {split: {image_name(p) for p in pictures} if split == "train" else set() for split in SPLITS}
    return several_rows(pictures, images)["train"]


def test_every_answer_is_true_of_the_slices(made):
    asked = Counter()
    for row in made:
        places = [place(name) for name in (row["image"], *row["further"])]
        assert len(set(places)) == 3
        (text, answer), (first, _, last) = row["turns"][0], places
        asked[row["kind"]] += 1
        if row["kind"] == "slice order":
            assert first[0] == last[0] == "axial"
            assert answer == ("yes" if first[1] > last[1] else "no")
        elif row["kind"] == "same side":
            assert answer == ("yes" if first[1] % 2 == last[1] % 2 else "no")
            assert min(first[1], last[1]) >= 8
        else:
            holds = [
                index >= 8 if "liver" in text
                else plane in text if "axial" in text or "coronal" in text
                else f" {WINDOWS[index % 3]} window" in text
                for plane, index in places
            ]  # fmt: skip
            expected = COUNTS[sum(holds)] if row["kind"] == "slice count" else "first" if holds[0] else "last"
            assert answer == expected
            assert row["kind"] == "slice count" or holds[0] != holds[2]
    assert all(asked[kind] > 50 for kind in ("which slice", "slice count", "slice order", "same side"))


def test_the_build_is_the_same_every_time(made, tmp_path):
    pictures = list(made_pictures())
    again = several_rows(pictures[::-1], {"train": {image_name(p) for p in pictures}})["train"]
    assert Counter(row["kind"] for row in again) == Counter(row["kind"] for row in made)
    for folder in ("a", "b"):
        write_rows(tmp_path / folder, {"train": made})
    assert (tmp_path / "a/train.zip").read_bytes() == (tmp_path / "b/train.zip").read_bytes()


@pytest.fixture(scope="module")
def shipped():
    return open_source(DataConfig(source="embedded-slices"))


@pytest.mark.parametrize("split", SPLITS)
def test_question_and_middle_slice_leave_every_answer_as_likely(shipped, split):
    """The best that anyone can do who sees the middle slice alone is to guess, and so without any slice."""
    answers = defaultdict(Counter)
    for record in shipped.records(split):
        first, middle, last = record.images
        assert len({place(first), place(middle), place(last)}) == 3
        answers[record.question, middle][record.answer] += 1
    assert all(len(found) > 1 and len(set(found.values())) == 1 for found in answers.values())
    kinds = stats(shipped)[split]["kinds"]
    assert {kind: round(told["answer"], 3) for kind, told in kinds.items()} == {
        "same side": 0.5, "slice count": 0.333, "slice order": 0.5, "which slice": 0.5
    }  # fmt: skip


def asks_for(question, sentence):
    """Whether a question is about the organ of a sentence: "Yes, the liver is visible in this slice."."""
    organ = sentence.partition("the ")[2].partition(" is ")[0]
    return f"the {organ}," in question or f"the {organ}?" in question


def test_what_ships_agrees_with_what_the_embedded_data_says_of_single_slices(shipped):
    """Planes, windows and organs of the same pictures, where the embedded data happens to ask for them."""
    single = defaultdict(dict)
    embedded = EmbeddedSource()
    for split in SPLITS:
        for record in embedded.records(split):
            if record.kind in ("plane", "window", "organ present"):
                about = record.sentence if record.kind == "organ present" else ""
                single[split, record.image][record.kind, about] = record.answer
    compared = Counter()
    for split in SPLITS:
        for record in shipped.records(split):
            if record.kind != "which slice":
                continue
            shown = record.images[0 if record.answer == "first" else 2]
            other = record.images[2 if record.answer == "first" else 0]
            for (kind, about), answer in single[split, shown].items():
                if kind == "plane" and any(plane in record.question for plane in ("axial", "coronal", "sagittal")):
                    compared[kind] += 1
                    assert answer in record.question
                elif kind == "window" and "window" in record.question:
                    compared[kind] += 1
                    assert f" {answer} window" in record.question
                elif kind == "organ present" and asks_for(record.question, about):
                    compared[kind] += 1
                    assert answer == "yes"
            for (kind, about), answer in single[split, other].items():
                if kind == "organ present" and asks_for(record.question, about):
                    compared[kind] += 1
                    assert answer == "no"
    assert all(compared[kind] > 20 for kind in ("plane", "window", "organ present"))


def test_its_images_are_those_of_the_embedded_data_and_its_rows_are_small(shipped):
    assert sum(path.stat().st_size for path in SLICES_FOLDER.glob("*.zip")) < 200_000
    record = shipped.records("test")[0]
    from medmllm.data.records import each_image

    assert [shipped.image(one).size for one in each_image([record])] == [(112, 112)] * 3
    assert {entry["path"] for entry in shipped.files()} >= {"slices/train.zip", "embedded/train.zip"}
    assert EMBEDDED_FOLDER.name == "embedded"
