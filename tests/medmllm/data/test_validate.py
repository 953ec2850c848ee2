"""The doctor and the description of a data set."""

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import faults
import pytest
from PIL import Image

from graphalign.extras import pip_line
from medmllm.data.config import DataConfig
from medmllm.data.describe import describe_data
from medmllm.data.people import NOBODY
from medmllm.data.sources import open_source
from medmllm.data.validate import CHECKS, READABLE, validate_data
from medmllm.errors import DataError, MissingExtraError


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
    report = validate_data(config_of(tmp_path, rows, fraction=0.1), on_progress=lambda *step: done.append(step))
    nobody, equal, held = report.warnings
    assert nobody == NOBODY
    assert "share their answer with another image" in equal
    assert "more, held out for validation, are not counted" in held
    told = {"warnings": report.warnings, "checks": {}}
    assert report.to_dict() == {"rows": 12, "images": 6, "problems": ()} | told
    assert done == [(n, 6) for n in range(1, 7)]


def test_an_image_in_two_splits_is_counted_once(tmp_path, rows):
    rows[0]["split"], rows[6]["split"], rows[1]["split"], rows[7]["split"] = "train", "test", "validation", "test"
    report = validate_data(config_of(tmp_path, [row | {"split": row.get("split", "train")} for row in rows]))
    assert (report.rows, report.images) == (12, 6)


def found_by(report):
    found = defaultdict(set)
    for problem in report.problems:
        found[problem.check].add((Path(problem.file).stem, problem.row))
    return dict(found)


def test_every_planted_fault_is_found_at_its_row_and_nothing_else(tmp_path):
    wanted = faults.plant(tmp_path)
    report = validate_data(DataConfig(source=str(tmp_path)))
    assert found_by(report) == wanted
    assert set(wanted) == set(CHECKS)
    assert all(p.message and p.hint for p in report.problems)
    assert report.to_dict()["checks"] == {check: sum(p.check == check for p in report.problems) for check in wanted}


def test_the_same_data_set_without_faults_has_none(tmp_path):
    faults.save(tmp_path, faults.clean(tmp_path))
    assert validate_data(DataConfig(source=str(tmp_path))).problems == ()


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_can_be_asked_for_alone(tmp_path, check):
    wanted = faults.plant(tmp_path)
    assert found_by(validate_data(DataConfig(source=str(tmp_path)), checks=[check])) == {check: wanted[check]}


def test_training_stops_for_what_cannot_be_read_only(tmp_path):
    faults.plant(tmp_path)
    report = validate_data(DataConfig(source=str(tmp_path)), checks=READABLE)
    assert set(found_by(report)) == set(READABLE)


def test_files_that_number_their_rows_from_the_start_do_not_leak(tmp_path):
    rows = faults.clean(tmp_path)
    for content in rows.values():
        for number, row in enumerate(content):
            row["id"] = number
    faults.save(tmp_path, rows)
    assert validate_data(DataConfig(source=str(tmp_path))).problems == ()
    rows["validation"][3]["image"] = rows["train"][3]["image"]
    rows["validation"][3]["subject"] = "somebody"
    faults.save(tmp_path, rows)
    assert found_by(validate_data(DataConfig(source=str(tmp_path)))) == {
        "leak-id": {("validation", 4)},
        "leak-file": {("validation", 4)},
    }


def test_an_unsplit_file_has_no_two_sides(tmp_path):
    rows = faults.clean(tmp_path)
    whole = rows["train"] + rows["validation"]
    for number in range(1, 20):
        faults.drawing(0).resize((60 + number, 60)).save(tmp_path / f"images/{number}.png")
    report = validate_data(config_of(tmp_path, whole))
    assert {problem.check for problem in report.problems} == {"near-duplicate"}
    assert not any("split" in problem.hint for problem in report.problems)


def test_a_leak_names_both_splits(tmp_path):
    faults.plant(tmp_path)
    leaks = [p for p in validate_data(DataConfig(source=str(tmp_path))).problems if p.check.startswith("leak-")]
    assert len(leaks) == 4
    assert all("train or validation" in problem.hint for problem in leaks)


def test_a_reader_that_is_not_installed_is_no_fault_of_the_images(tmp_path, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for row in rows:
        row["image"] = row["image"].replace(".png", ".dcm")
        (tmp_path / row["image"]).write_bytes(bytes(128) + b"DICM")
    with pytest.raises(MissingExtraError, match="pydicom is not installed") as error:
        validate_data(config_of(tmp_path, rows))
    assert error.value.hint == pip_line("medical")
    assert error.value.exit_code == 4


def test_slices_of_one_person_may_look_alike(tmp_path):
    rows = faults.clean(tmp_path)
    faults.drawing(0).resize((60, 60)).save(tmp_path / "images/1.png")
    rows["train"][2]["subject"] = rows["train"][3]["subject"] = "p0"
    faults.save(tmp_path, rows)
    assert validate_data(DataConfig(source=str(tmp_path))).problems == ()


def test_a_name_too_long_for_any_file_is_a_missing_image(tmp_path, rows):
    rows[3]["image"] = "a" * 5000
    assert found_by(validate_data(config_of(tmp_path, rows))) == {"missing-image": {("data", 4)}}


def test_validation_file_is_checked_too(tmp_path, rows):
    (tmp_path / "val.json").write_text("[")
    report = validate_data(config_of(tmp_path, rows, validation=str(tmp_path / "val.json")))
    assert [(p.file, p.row) for p in report.problems] == [(str(tmp_path / "val.json"), None)]


def test_a_missing_file_is_raised():
    with pytest.raises(DataError, match="does not exist"):
        validate_data(DataConfig(source="nowhere.json"))


def test_describe_counts_rows_people_images_and_answers(tmp_path, rows):
    summary = json.loads(json.dumps(describe_data(open_source(config_of(tmp_path, rows)))))
    train = summary["splits"]["train"]
    assert (train["rows"], train["images"], train["subjects"]) == (10, 5, 5)
    assert train["kinds"]["closed"]["rows"] == 10
    assert sum(train["kinds"]["closed"]["answers"].values()) == 10
    assert train["caption_words"] == {"least": 1, "median": 1, "most": 1}
    assert summary["files"][0]["rows"] == {"train": 10, "validation": 2, "test": 2}


@pytest.mark.slow
def test_a_hundred_thousand_rows_in_two_minutes_and_two_gigabytes(tmp_path):
    """With an image of 224 x 224 for every row, of every kind that cameras and viewers write."""
    (tmp_path / "images").mkdir()
    with (tmp_path / "train.jsonl").open("w") as file:
        for number in range(100_000):
            name = f"images/{number}.{'jpg' if number % 4 else 'png'}"
            faults.drawing(number).resize((224, 224)).save(tmp_path / name)
            file.write(json.dumps(faults.row(str(number), name, f"p{number}")) + "\n")
    begin = time.monotonic()
    command = [sys.executable, "-m", "exgra", "data", "validate", str(tmp_path / "train.jsonl"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(done.stdout)["rows"] == 100_000
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # of the largest process
    assert seconds < 120
    assert peak < 2
