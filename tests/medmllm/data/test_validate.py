"""The doctor and the description of a data set."""

import json

import pytest
from PIL import Image

from medmllm.config import DataConfig
from medmllm.data.describe import describe
from medmllm.data.sources import open_source
from medmllm.data.validate import validate
from medmllm.errors import DataError


@pytest.fixture
def rows(tmp_path):
    content = []
    for number in range(12):
        Image.effect_noise((30, 30), 50).save(tmp_path / f"{number % 6}.png")
        talk = [{"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes" if number % 3 else "no"}]
        content.append({"id": number, "image": f"{number % 6}.png", "conversations": talk, "answer_type": "CLOSED"})
    return content


def config_of(folder, rows, **settings):
    (folder / "data.json").write_text(json.dumps(rows))
    return DataConfig(source=str(folder / "data.json"), **settings)


def test_a_clean_data_set_has_no_problems(tmp_path, rows):
    done = []
    report = validate(config_of(tmp_path, rows, fraction=0.1), on_progress=lambda *step: done.append(step))
    assert report.to_dict() == {"rows": 12, "images": 6, "problems": (), "warnings": ()}
    assert done == [(n, 6) for n in range(1, 7)]


def test_every_planted_fault_is_reported_with_its_row(tmp_path, rows):
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:200])
    rows[4]["conversations"] = []
    rows[5]["image"] = "../5.png"
    rows[8]["id"] = 0
    report = validate(config_of(tmp_path, rows))
    assert {(p.row, p.field) for p in report.problems} == {
        (2, "image"),  # missing, told at the first row that names it
        (3, "image"),  # truncated
        (5, "conversations"),
        (6, "image"),
        (9, "id"),
    }
    assert (report.rows, report.images) == (9, 6)
    assert all(p.hint for p in report.problems)
    assert json.loads(json.dumps(report.to_dict()))["problems"][0]["row"] == 5


def test_validation_file_is_checked_too(tmp_path, rows):
    (tmp_path / "val.json").write_text("[")
    report = validate(config_of(tmp_path, rows, validation=str(tmp_path / "val.json")))
    assert [(p.file, p.row) for p in report.problems] == [(str(tmp_path / "val.json"), None)]


def test_a_missing_file_is_raised():
    with pytest.raises(DataError, match="does not exist"):
        validate(DataConfig(source="nowhere.json"))


def test_describe_counts_rows_people_images_and_answers(tmp_path, rows):
    summary = json.loads(json.dumps(describe(open_source(config_of(tmp_path, rows)))))
    train = summary["splits"]["train"]
    assert (train["rows"], train["images"], train["subjects"]) == (10, 5, 5)
    assert train["kinds"]["closed"]["rows"] == 10
    assert sum(train["kinds"]["closed"]["answers"].values()) == 10
    assert train["caption_words"] == {"least": 1, "median": 1, "most": 1}
    assert summary["files"][0]["rows"] == {"train": 10, "validation": 2, "test": 2}
