"""Published sets with the faults that they are published with: counted, named, and the same for every command."""

import json

import pytest
from PIL import Image

from medmllm.build import read_data
from medmllm.data.config import DataConfig
from medmllm.data.cutting import write_split
from medmllm.data.file_source import FileSource
from medmllm.data.formats import read_file
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.candidates import read_candidates
from medmllm.evaluate.exam import Asked, _other_data
from medmllm.evaluate.references import open_references, read_references
from medmllm.evaluate.systems import score_files
from medmllm.evaluate.unanswered import read_questions
from medmllm.settings.schema import Config


def rad_rows():
    """Twelve images with three rows each, every third for testing; in row 5 a spreadsheet counted the case up."""
    rows = []
    for n in range(36):
        case = f"case?id=a{100 + n // 3 + (n == 4)}"
        row = {"qid": str(n), "phrase_type": "test_freeform" if n % 3 == 2 else "para", "image_name": f"s{n // 3}.jpg"}
        row |= {"image_case_url": case, "question": f"Which, {n}?", "question_type": "PRES"}
        rows.append(row | {"answer": ["yes", 4][n % 2], "answer_type": ["CLOSED ", "OPEN"][n % 2]})
    return rows


def slake_rows(first=0, empty=()):
    rows = []
    for n in range(first, first + 12):
        row = {"img_id": n // 2, "img_name": f"xmlab{n // 2}/source.jpg", "q_lang": "en" if n % 2 else "zh", "qid": n}
        answer = "" if n in empty else ["Yes", "Liver"][n // 2 % 2]
        row |= {"answer_type": ["CLOSED", "OPEN"][n // 2 % 2], "content_type": "Organ", "modality": "CT"}
        rows.append(row | {"question": f"Which, {n}?", "answer": answer})
    return rows


def write(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
def rad(tmp_path):
    folder = tmp_path / "VQA_RAD Image Folder"
    folder.mkdir()
    for n in range(12):
        Image.new("L", (8, 8), 20 * n).save(folder / f"s{n}.jpg")
    return write(tmp_path / "VQA_RAD Dataset Public.json", rad_rows())


@pytest.fixture
def slake(tmp_path):
    for n in range(18):
        (tmp_path / f"imgs/xmlab{n}").mkdir(parents=True)
        Image.new("L", (8, 8), 10 * n).save(tmp_path / f"imgs/xmlab{n}/source.jpg")
    write(tmp_path / "train.json", slake_rows(0, empty=(3,)))
    write(tmp_path / "validate.json", slake_rows(12))
    write(tmp_path / "test.json", slake_rows(24))
    return tmp_path


def test_an_image_of_vqa_rad_belongs_to_the_case_that_most_of_its_rows_name(rad):
    reading = read_file(rad)
    assert reading.problems == []
    assert {r.subject for r in reading.records if r.image.endswith("s1.jpg")} == {"case?id=a101"}
    (warning,) = reading.warnings
    assert "1 row (1 image) named another case than most rows of their image" in warning
    assert "row 5" in warning


def test_a_table_of_ones_own_with_two_people_in_an_image_is_still_refused(tmp_path):
    rows = [{"image": "a.png", "question": "Q", "answer": "A", "subject": f"p{n}"} for n in range(2)]
    assert [p.field for p in read_file(write(tmp_path / "a.json", rows)).problems] == ["subject"]


def test_rows_of_slake_without_an_answer_are_left_out_counted_and_named(slake):
    source, splits, skipped = read_data(DataConfig(source=str(slake)))
    assert {split: len(records) for split, records in splits.items()} == {"train": 5, "validation": 6, "test": 6}
    assert [(one.split, one.id) for one in skipped] == [("train", "row 4 of train.json")]
    assert any("1 row is left out: no answer (row 4" in line for line in source.warnings)
    assert len(read_references(slake / "train.json")) == 5


def test_references_of_published_sets_are_their_test_rows(rad, slake):
    asked = read_references(rad)
    assert len(asked) == 12
    assert {item.kind for item in asked} == {"PRES"}
    assert sum(item.closed for item in asked) == 6
    assert len(read_references(rad, split="train")) == 24
    assert len(read_references(rad, split="all")) == 36
    with pytest.raises(ConfigError, match="no row is of the split 'validation'") as error:
        read_references(rad, split="validation")
    assert "train 24, test 12" in error.value.hint
    assert len(read_references(slake / "test.json")) == 6
    assert len(read_references(slake / "test.json", language="zh")) == 6
    assert len(read_references(slake / "test.json", language="all")) == 12


def test_answers_to_the_test_rows_are_scored_without_a_word_about_training_rows(rad):
    said = [{"question_id": row["qid"], "text": row["answer"]} for row in rad_rows() if "test" in row["phrase_type"]]
    heard = []
    found = score_files(rad, write(rad.parent / "said.json", said), on_warning=heard.append)
    assert found["strict"]["exact_match_all"] == 100
    assert (found["strict"]["n_open"], found["strict"]["n_closed"]) == (6, 6)
    assert any("12 of 36 rows are asked, those of test" in line for line in heard)


def test_a_table_that_names_its_splits_is_asked_for_those_that_are_answered(tmp_path):
    rows = [{"id": str(n), "question": "Q", "answer": "A", "split": ["train", "dev", "test"][n % 3]} for n in range(9)]
    said = [{"id": str(n), "prediction": "A"} for n in range(9)]
    path = write(tmp_path / "rows.json", rows)

    def asked(kept):
        return score_files(path, write(tmp_path / "said.json", kept))["strict"]["n_open"]

    assert asked(said) == 9
    assert asked(said[2::3]) == 3
    with pytest.raises(DataError, match="1 not answered: 8"):
        asked(said[2:6:3])


def test_candidates_are_those_of_the_training_rows(rad):
    write(rad, [row | {"answer": f"a {row['qid']}"} for row in rad_rows()])
    assert len(read_candidates(rad)) == 12  # of 24 training rows, every second is open


def test_predictions_are_made_of_the_rows_that_are_asked(rad, slake):
    heard = []
    assert len(read_questions(rad, None, on_warning=heard.append)[1]) == 12
    assert any("12 of 36 rows are asked" in line for line in heard)
    assert len(read_questions(rad, None, split="all")[1]) == 36
    images, records = read_questions(slake / "test.json", None, language="zh")
    assert [r.id for r in records] == [str(n) for n in range(24, 36, 2)]
    assert images.image(records[0]).size == (8, 8)


def test_other_data_of_an_evaluation_is_its_test_rows(rad, slake):
    def asked(path, **more):
        return len(_other_data(Config(), Asked(source=str(path), **more)).records(more.get("split", "test")))

    assert asked(rad) == 12
    assert asked(slake) == 6
    assert asked(slake, split="validation") == 6
    assert asked(slake / "train.json") == 5  # a file alone says nothing of splits: all of it
    assert asked(slake / "test.json", language="all") == 12
    with pytest.raises(DataError, match="no row is of the split 'validation'"):
        asked(rad, split="validation")


def test_a_validation_file_that_names_its_splits_gives_those_rows_alone(rad, slake):
    source = FileSource(slake / "train.json", test=rad)
    assert len(source.records("test")) == 12


def test_a_new_split_of_vqa_rad_is_not_undone_by_the_published_one(rad, tmp_path):
    (tmp_path / "parts").mkdir()
    found = write_split(rad, tmp_path / "parts", validation=0.2, test=0.2)
    source = FileSource(tmp_path / "parts", images=rad.parent)
    for split, entry in found.items():
        assert len(source.records(split)) == entry["rows"]
        assert source.image(source.records(split)[0]).size == (8, 8)
    assert found["train"]["settings"] == [f"data.images={rad.parent}"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "talks.json"])
def test_faulty_rows_of_any_format_are_left_out_where_that_is_asked_for(tmp_path, name):
    rows = [{"id": str(n), "image": f"{n}.png", "question": "Is it?", "answer": "yes"} for n in range(20)]
    for n in range(19):  # the image of the last row does not exist
        Image.new("L", (8, 8), 9 * n).save(tmp_path / f"{n}.png")
    rows[3]["answer"], rows[5]["image"], rows[7]["id"] = "", "../x.png", "6"
    if name == "rows.csv":
        (tmp_path / name).write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]))
    elif name == "rows.json":
        write(tmp_path / name, rows)
    else:
        talks = []
        for row in rows:
            turns = [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row["answer"]}]
            talks.append({"id": row["id"], "image": row["image"], "conversations": turns})
        write(tmp_path / name, talks)
    config = DataConfig(source=str(tmp_path / name))
    with pytest.raises(DataError, match="3 problems"):
        read_data(config)
    source, splits, skipped = read_data(config.model_copy(update={"on_bad_sample": "skip"}))
    kept = {record.id for records in splits.values() for record in records}
    assert kept == {str(n) for n in range(19)} - {"3", "5", "7"}
    assert {one.id for one in skipped} >= {f"row 4 of {name}", f"row 6 of {name}", f"row 8 of {name}", "19"}
    assert any("3 rows are left out" in line for line in source.warnings)


def test_a_file_of_which_nothing_is_sound_is_refused_all_the_same(tmp_path):
    path = write(tmp_path / "a.json", [{"image": "a.png", "question": "Q", "answer": ""}] * 3)
    with pytest.raises(DataError, match="3 problems"):
        read_data(DataConfig(source=str(path), on_bad_sample="skip"))


def test_all_rows_are_kept_with_their_split(rad):
    assert set(open_references(rad).splits) == {"train", "test"}
