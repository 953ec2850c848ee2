"""The embedded data set as it is shipped: its files, its rows, its splits."""

import io
import json
import os
import re
import zipfile
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medmllm.data
from medmllm.data.prepare.__main__ import build_embedded
from medmllm.data.prepare.archives import ARCHIVES
from medmllm.data.prepare.questions import QUESTIONS
from medmllm.data.prepare.write import SPLITS, compare
from medmllm.data.records import Record

FOLDER = Path(medmllm.data.__file__).parent / "embedded"
MEGABYTE = 2**20
SLAB_SPLITS = {"train", "validation", "test_slab"}


def read_records(split: str) -> list[Record]:
    with zipfile.ZipFile(FOLDER / f"{split}.zip") as archive:
        rows = [json.loads(line) for line in archive.read("records.jsonl").splitlines()]
    return [Record(**{**row, "turns": tuple(map(tuple, row["turns"]))}) for row in rows]


def read_pixels(split: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(FOLDER / f"{split}.zip") as archive:
        names = [name for name in archive.namelist() if name != "records.jsonl"]
        return {name: np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L")) for name in names}


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads((FOLDER / "manifest.json").read_text())


@pytest.fixture(scope="module")
def records() -> dict[str, list[Record]]:
    return {split: read_records(split) for split in SPLITS}


@pytest.fixture(scope="module")
def pixels() -> dict[str, dict[str, np.ndarray]]:
    return {split: read_pixels(split) for split in SPLITS}


@pytest.fixture(scope="module")
def rows(records: dict[str, list[Record]]) -> list[Record]:
    return [record for split in SPLITS for record in records[split]]


@pytest.mark.parametrize("split", SPLITS)
def test_manifest_describes_the_file(split, manifest, records):
    entry, content = manifest["splits"][split], (FOLDER / f"{split}.zip").read_bytes()
    assert sha256(content).hexdigest() == entry["sha256"]
    assert len(content) == entry["bytes"]
    assert len(records[split]) == entry["rows"]
    assert len({record.subject for record in records[split]}) == entry["subjects"]
    assert dict(Counter(record.kind for record in records[split])) == entry["kinds"]


def test_archives_stay_within_eight_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.zip")) <= 8 * MEGABYTE


def test_there_is_enough_to_learn_and_to_measure(records):
    counts = {split: len(records[split]) for split in SPLITS}
    assert 5000 <= counts["train"] <= 7500
    assert counts["validation"] >= 500
    assert counts["test"] >= 1500
    assert counts["test_slab"] >= 600


@pytest.mark.parametrize("split", SPLITS)
def test_every_image_is_named_by_a_record_and_decodes(split, records, pixels):
    assert {record.image for record in records[split]} == set(pixels[split])
    assert all(image.shape == (112, 112) for image in pixels[split].values())
    assert min(image.std() for image in pixels[split].values()) > 1, "a picture shows nothing"


def test_ids_are_unique_and_splits_are_right(records, rows):
    assert len({record.id for record in rows}) == len(rows)
    assert all(record.split == split for split in SPLITS for record in records[split])


def test_no_person_stands_on_both_sides(rows):
    splits = defaultdict(set)
    for record in rows:
        splits[record.subject].add(record.split)
    shared = {subject: found for subject, found in splits.items() if len(found) > 1}
    assert len(shared) == 5, "only the five sliced training volumes are shared"
    for subject, found in shared.items():
        assert not subject.startswith("film"), "films part by patient"
        assert found <= SLAB_SPLITS, f"{subject} was held out whole"


def slice_name(record: Record) -> str:
    """Volume, plane and index of a picture: its name without the number of the view and the box."""
    return re.sub(r"-\d(-box)?\.webp$", "", record.image)


def test_no_slice_stands_in_two_splits(records):
    slices = {split: {slice_name(record) for record in records[split]} for split in SPLITS}
    assert sum(map(len, slices.values())) == len(set().union(*slices.values()))
    assert len(slices["train"]) < len({record.image for record in records["train"]}), "slices have several views"


def test_no_two_pictures_are_equal(pixels):
    digests = Counter(sha256(image.tobytes()).hexdigest() for split in SPLITS for image in pixels[split].values())
    assert max(digests.values()) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_yes_and_no_are_even(split, records):
    answers = defaultdict(Counter)
    for record in records[split]:
        if record.answer in ("yes", "no"):
            answers[record.kind][record.answer] += 1
    assert answers
    assert all(found["yes"] == found["no"] for found in answers.values())


def test_no_training_question_text_favours_yes_or_no(records):
    texts = defaultdict(Counter)
    for record in records["train"]:
        if record.answer in ("yes", "no"):
            texts[record.question][record.answer] += 1
    assert len(texts) > 20
    assert all(found["yes"] == found["no"] for found in texts.values())


def test_every_kind_has_several_answers_and_wordings(records):
    for split in SPLITS:
        answers, wordings = defaultdict(set), defaultdict(set)
        for record in records[split]:
            answers[record.kind].add(record.answer)
            wordings[record.kind].add(record.question)
        assert answers.keys() <= QUESTIONS.keys()
        assert min(map(len, answers.values())) >= 2
        assert min(map(len, wordings.values())) >= 2


def test_texts_have_their_shape(rows):
    for record in rows:
        assert len(record.turns) == 1
        assert record.question.endswith(("?", "."))
        assert 1 <= len(record.answer.split()) <= 3
        assert record.answer == record.answer.lower()
        assert record.sentence.endswith(".")
        assert 40 <= len(record.caption.split()) <= 60
        assert record.caption != record.sentence
    assert len({record.caption for record in rows}) > 0.95 * len(rows)


def test_sentence_and_caption_agree_with_the_answer(rows):
    for record in rows:
        if record.answer in ("yes", "no"):
            assert record.sentence.lower().startswith(record.answer + ",")
        else:
            assert record.answer in record.sentence
            assert record.answer in record.caption


def test_sides_of_the_caption_follow_the_flip(rows):
    """Where a caption names both, the liver is on the side of the person's right."""
    seen = 0
    for record in rows:
        for side, other in (("left", "right"), ("right", "left")):
            liver = f"liver lies on the {side} of the picture" in record.caption
            person = any(
                text in record.caption
                for text in (f"right side of the person is on the {other}", f"person's right side is at the {other}")
            )
            seen += liver
            assert not (liver and person), record.id
    assert seen > 50


def test_attribution_names_every_source_and_pin(rows):
    text = (FOLDER / "ATTRIBUTION.md").read_text()
    for archive in ARCHIVES:
        assert archive.source in text
        assert archive.file in text
        assert archive.sha256 in text
    assert {record.source for record in rows} == {archive.source for archive in ARCHIVES}


@pytest.mark.archives
@pytest.mark.slow
def test_archives_give_the_same_data_set(tmp_path, manifest):
    """Needs EXGRA_ARCHIVES, the folder of the four archives, and the `prepare` extra."""
    folder = os.environ.get("EXGRA_ARCHIVES")
    if not folder:
        pytest.skip("EXGRA_ARCHIVES names no folder with the four archives")
    built = build_embedded(Path(folder), tmp_path)
    verdicts = set(compare(built, manifest).values())
    same_encoders = built["encoders"] == manifest["encoders"]
    assert verdicts == {"same file"} if same_encoders else "different" not in verdicts
