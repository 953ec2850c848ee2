"""Questions without answers, from files, images and folders; answers appended, continued, and never mixed."""

import json
import shutil
from pathlib import Path

import pytest

from medmllm.data.config import DataConfig
from medmllm.data.shards.write import write_shards
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.items import read_predictions
from medmllm.evaluate.predict import Settings, predict_file
from medmllm.evaluate.unanswered import read_questions, read_source


@pytest.fixture
def images(drawn, tmp_path):
    for number in range(7):
        shutil.copy(drawn.parent / "images" / f"{number}.png", tmp_path / f"{number}.png")
    return tmp_path


@pytest.fixture
def questions(images):
    rows = [{"question_id": i, "image": f"{i}.png", "text": f"Where is box {i}?"} for i in range(7)]
    path = images / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_answered_in_the_form_of_llava(finished, questions, tmp_path):
    out = tmp_path / "out.jsonl"
    assert predict_file(finished, questions, out, settings=Settings(batch_size=3)).answers == 7
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert set(rows[0]) == {"question_id", "prompt", "text", "answer_id", "model_id", "metadata"}
    assert [row["question_id"] for row in rows] == [str(i) for i in range(7)]
    assert len({row["answer_id"] for row in rows}) == 7
    assert [said.text for said in read_predictions(out)] == [row["text"] for row in rows]


def test_a_file_that_was_begun_is_continued(finished, questions, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    predict_file(finished, questions, whole, settings=Settings(batch_size=3))
    content = whole.read_bytes()
    cut.write_bytes(content[: content.index(b'"4"') + 10])
    assert predict_file(finished, questions, cut, settings=Settings(batch_size=3)).answers == 7
    assert cut.read_bytes() == content
    with pytest.raises(DataError, match="other settings"):
        predict_file(finished, questions, cut, settings=Settings(batch_size=3, max_new_tokens=1))
    assert cut.read_bytes() == content


def test_one_question_is_asked_about_a_folder_or_an_image(images):
    _, records = read_questions(images, "Where?")
    assert [(r.id, r.question) for r in records] == [(f"{i}.png", "Where?") for i in range(7)]
    source, (one,) = read_questions(images / "3.png", "Where?")
    assert source.image(one).size == (28, 28)
    with pytest.raises(ConfigError, match="ask nothing"):
        read_questions(images, None)


def test_every_file_of_a_folder_is_tried_and_what_is_none_is_named(finished, images, tmp_path):
    (images / "0.png").rename(images / "film")
    (images / "1.png").write_bytes(b"no picture")
    (images / "notes").write_text("to be read by nobody")
    (images / ".hidden").write_text("passed over")
    out = images / "out.jsonl"
    for _ in range(2):  # the second time the answers lie in the folder too
        done = predict_file(finished, images, out, question="Where?")
        assert done.answers == 6
        assert [line.partition(":")[0] for line in done.skipped] == ["1.png", "notes"]
    assert [json.loads(line)["question_id"] for line in out.read_text().splitlines()][-1] == "film"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a").write_text("x")
    with pytest.raises(DataError, match="no image that can be read"):
        predict_file(finished, tmp_path / "none", out, question="Where?")


def test_a_dicom_file_needs_no_ending(finished, tmp_path):
    pytest.importorskip("pydicom")
    from tests.medmllm.data.scans.test_render import HU, dicom

    dicom(tmp_path / "scans/IM0001", HU)
    dicom(tmp_path / "scans/b.dcm", HU)
    assert predict_file(finished, tmp_path / "scans", tmp_path / "a.jsonl", question="Air?").answers == 2
    assert predict_file(finished, tmp_path / "scans/IM0001", tmp_path / "b.jsonl", question="Air?").answers == 1


def test_llava_rows_and_tables_are_read(images):
    turns = [{"from": "human", "value": "<image>\nWhere?"}]
    (images / "l.json").write_text(json.dumps([{"id": "a", "image": "0.png", "conversations": turns}]))
    (images / "t.csv").write_text("image,question\n0.png,Where?\n1.png,Which?\n")
    assert [(r.id, r.question) for r in read_questions(images / "l.json", None)[1]] == [("a", "Where?")]
    assert [(r.id, r.question) for r in read_questions(images / "t.csv", None)[1]] == [("1", "Where?"), ("2", "Which?")]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"image": "0.png"}], "question: is missing"),
        ([{"question": "x"}], "no column holds an image"),
        ([{"id": 1, "image": "0.png", "question": "x"}] * 2, "'1' is also the id of row 1"),
    ],
)
def test_rows_that_cannot_be_asked(images, rows, told):
    (images / "bad.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=told):
        read_questions(images / "bad.json", None)


def test_data_that_training_takes_by_name_or_as_shards_is_asked(finished, drawn, tmp_path):
    images, records = read_source(Path("embedded"), None, "en", "auto")
    assert {record.split for record in records} == {"test"}
    assert images.image(records[0]).mode == "RGB"
    with pytest.raises(ConfigError, match="no row is of the split 'dev'"):
        read_source(Path("embedded"), "dev", "en", "auto")

    source = open_source(DataConfig(source=str(drawn)))
    write_shards(source, tmp_path / "shards")
    out = tmp_path / "out.jsonl"
    asked = predict_file(finished, tmp_path / "shards", out, settings=Settings(split="train"))
    assert asked.answers == len(source.records("train"))
    assert [said.id for said in read_predictions(out)] == [record.id for record in source.records("train")]


def test_no_image_outside_the_folder_is_read(finished, images):
    (images / "bad.json").write_text(json.dumps([{"image": "../x.png", "question": "x"}]))
    with pytest.raises(DataError, match="leaves"):
        predict_file(finished, images / "bad.json", images / "out.jsonl")
