"""Formats as published, told apart by their content; folders with a file per split."""

import csv
import io
import json
import pickle
import tracemalloc

import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.formats import FORMATS, read_data, read_file
from medmllm.data.sources import open_source
from medmllm.errors import DataError


def picture(path, shade=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), shade).save(path)
    return path


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_every_format_has_a_line():
    assert set(FORMATS) == {"llava", "slake", "vqa-rad", "omnimedvqa", "path-vqa", "mimic-cxr-vqa", "roco", "table"}
    assert all(FORMATS.values())


def slake_row(number, **changes):
    row = {
        "img_id": number,
        "img_name": f"xmlab{number}/source.jpg",
        "question": "Which organ?",
        "answer": "Liver",
        "q_lang": "en",
        "location": "Abdomen",
        "modality": "CT",
        "answer_type": "OPEN",
        "base_type": "vqa",
        "content_type": "Organ",
        "triple": ["vhead", "_", "_"],
        "qid": number,
    }
    return row | changes


def test_slake_as_published(tmp_path):
    for name, first in (("train", 0), ("validate", 4), ("test", 6)):
        rows = [slake_row(first), slake_row(first + 1), slake_row(first + 20, question="哪个器官?", q_lang="zh")]
        for row in rows:
            picture(tmp_path / "imgs" / row["img_name"])
        write_json(tmp_path / f"{name}.json", rows)
    source = open_source(DataConfig(source=str(tmp_path)))
    assert {split: [r.id for r in source.records(split)] for split in source.splits} == {
        "train": ["0", "1"],
        "validation": ["4", "5"],
        "test": ["6", "7"],
    }
    record = source.records("validation")[0]
    assert (record.image, record.kind, record.modality) == ("imgs/xmlab4/source.jpg", "open", "CT")
    assert source.image(record).size == (8, 8)
    assert source.place(record) == (str(tmp_path / "validate.json"), 1)
    assert len([line for line in source.warnings if "1 row is left out: q_lang is not en" in line]) == 3


def test_vqa_rad_as_published(tmp_path):
    rows = []
    for number in range(12):
        name = f"synpic{number}.jpg"
        picture(tmp_path / "VQA_RAD Image Folder" / name)
        phrase = "test_freeform" if number > 8 else "freeform"
        answer = 4 if number == 0 else "Yes"
        rows.append(
            {"qid": str(number), "phrase_type": phrase, "image_name": name, "image_case_url": f"case{number // 2}"}
            | {"question": "Is it?", "answer": answer, "answer_type": "CLOSED ", "image_organ": "HEAD"}
            | {"question_type": "PRES" if number == 9 else "OTHER"}
        )
    path = write_json(tmp_path / "VQA_RAD Dataset Public.json", rows)
    for place in (path, tmp_path):
        source = open_source(DataConfig(source=str(place)))
        assert [r.id for r in source.records("test")] == ["9", "10", "11"]
        assert len(source.records("train")) + len(source.records("validation")) == 9
        record = source.records("test")[0]
        assert (record.kind, record.subject) == ("closed", "case4")
        assert [r.topic for r in source.records("test")] == ["PRES", "OTHER", "OTHER"]
        assert source.image(record).size == (8, 8)
    assert {r.answer for r in source.records("train") + source.records("validation")} == {"4", "Yes"}


def test_path_vqa_as_published(tmp_path):
    for split in ("train", "val", "test"):
        rows = [{"image": f"{split}_0", "question": "Is it?", "answer": "yes"}]
        rows += [{"image": f"{split}_0", "question": "What?", "answer": "bone"}]
        picture(tmp_path / "images" / split / f"{split}_0.jpg")
        (tmp_path / "qas" / split).mkdir(parents=True)
        (tmp_path / "qas" / split / f"{split}_qa.pkl").write_bytes(pickle.dumps(rows))
    source = open_source(DataConfig(source=str(tmp_path)))
    assert [len(source.records(split)) for split in source.splits] == [2, 2, 2]
    record = source.records("validation")[0]
    assert (record.kind, record.image, record.split) == ("closed", "images/val/val_0.jpg", "validation")
    assert source.records("test")[1].kind == "open"
    assert source.image(record).size == (8, 8)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_runs_nothing(tmp_path, capsys):
    (tmp_path / "qas").mkdir()
    for content in (pickle.dumps([Evil()]), b"\x80\x04garbage", b"", pickle.dumps({"a": 1})):
        (tmp_path / "qas" / "x_qa.pkl").write_bytes(content)
        problem = read_file(tmp_path / "qas" / "x_qa.pkl").problems[0]
        assert "pickle" in problem.message
        assert problem.hint
    assert capsys.readouterr().out == ""


def test_a_pickle_may_not_fill_the_memory(tmp_path):
    (tmp_path / "qas").mkdir()
    bombs = [b"\x80\x04]r\xff\xff\xff\x7f.", b"\x80\x04]p999999999\n.", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00."]
    for content in bombs:
        (tmp_path / "qas" / "x_qa.pkl").write_bytes(content)
        tracemalloc.start()
        assert "pickle" in read_file(tmp_path / "qas" / "x_qa.pkl").problems[0].message
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()


def test_a_file_of_nothing_but_problems_is_not_read_to_its_end(tmp_path):
    (tmp_path / "a.json").write_text("[" + "1," * 300_000 + "1]")
    problems = read_file(tmp_path / "a.json").problems
    assert len(problems) == 10_001
    assert "not read on" in problems[-1].message


def test_omnimedvqa_as_published(tmp_path):
    row = {"dataset": "ACRIMA", "question_id": "A1", "question_type": "Disease Diagnosis", "question": "What?"}
    row |= {"gt_answer": "Glaucoma", "image_path": "Images/ACRIMA/1.png", "modality_type": "Fundus Photography"}
    row |= {"option_A": "Glaucoma", "option_B": "Drusen", "option_C": "Cataract"}
    picture(tmp_path / "Images/ACRIMA/1.png")
    path = write_json(tmp_path / "QA_information/Open-access/ACRIMA.json", [row])
    for place in (path, tmp_path):
        source = open_source(DataConfig(source=str(place)))
        assert source.records("train") == ()
        record = source.records("test")[0]
        assert record.options == ("Glaucoma", "Drusen", "Cataract")
        assert (record.kind, record.modality) == ("disease diagnosis", "Fundus Photography")
        assert source.image(record).size == (8, 8)


def test_vqa_with_options_of_llava_med(tmp_path):
    picture(tmp_path / "images/1.jpg")
    talk = [{"from": "human", "value": '<image>\nIs it? (Answer with either "Yes" or "No").'}]
    talk += [{"from": "gpt", "value": "No"}]
    rows = [{"id": "1", "image": "images/1.jpg", "answer_type": "CLOSED", "conversations": talk}]
    for name in ("train_w_options_new.json", "test_w_options_new.json"):
        write_json(tmp_path / name, rows)
    source = open_source(DataConfig(source=str(tmp_path)))
    assert source.records("test")[0].question == 'Is it? (Answer with either "Yes" or "No").'
    assert source.place(source.records("test")[0])[0].endswith("test_w_options_new.json")


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl"])
def test_a_table_beside_a_folder_of_images(tmp_path, ending):
    picture(tmp_path / "scans/a.png")
    rows = [
        {"image": "scans/a.png", "question": "Is it, or not?", "answer": "No", "subject": "p1", "split": "train"},
        {"image": "scans/b.png", "question": 'Say "it"', "answer": "two\nlines", "subject": "p2", "split": "dev"},
    ]
    path = tmp_path / f"rows.{ending}"
    if ending.startswith("json"):
        path.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="," if ending == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    reading = read_file(path)
    assert reading.problems == []
    assert [(r.id, r.split, r.kind, r.subject) for r in reading.records] == [
        ("rows-1", "train", "closed", "p1"),
        ("rows-2", "validation", "open", "p2"),
    ]
    assert reading.records[1].turns == (('Say "it"', "two\nlines"),)


def test_images_with_captions_alone(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,A dark square.\nb.png,\n")
    reading = read_data(tmp_path)[0]
    assert reading.records[0].turns == (("Describe this image.", "A dark square."),)
    assert {(p.row, p.field) for p in reading.problems} == {(2, "question"), (2, "answer")}


TABLE_FAULTS = [
    ("image,question,answer\n,Q,A\n", "image", "is missing"),
    ("image,question,answer\n../a.png,Q,A\n", "image", "leaves"),
    ("image,question,answer\na.png,,A\n", "question", "is missing"),
    ("image,question,answer\na.png,Q,\n", "answer", "is empty"),
    ("image,question,answer,split\na.png,Q,A,tain\n", "split", "not a split"),
    ("image,question,answer\na.png,Q\n", "", "2 cells where the head has 3"),
    ("image,question,answer\na.png,Q,A,B\n", "", "4 cells"),
    ('image,question,answer\n"a.png"x,Q,A\n', "", "cannot be read"),
    ("image,question,answer\n", "", "has no rows"),
    ("", "", "is empty"),
]


@pytest.mark.parametrize(("text", "field", "message"), TABLE_FAULTS)
def test_faults_of_a_table(tmp_path, text, field, message):
    (tmp_path / "rows.csv").write_text(text)
    problems = read_file(tmp_path / "rows.csv").problems
    assert any(p.field == field and message in p.message for p in problems), problems


def parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as store

    path.parent.mkdir(exist_ok=True)
    store.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=4)


def png(shade):
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).save(stream, "PNG")
    return stream.getvalue()


def test_parquet_that_holds_its_images(tmp_path):
    rows = [
        {
            "image": {"bytes": png(10 * (n // 2)), "path": None},
            "question": "Is it?",
            "answer": "yes" if n % 2 else "bone",
        }
        for n in range(20)
    ]
    parquet(tmp_path / "data/train-00000-of-00002.parquet", rows[:10])
    parquet(tmp_path / "data/train-00001-of-00002.parquet", rows[10:])
    parquet(tmp_path / "data/test-00000-of-00001.parquet", rows[:2])
    source = open_source(DataConfig(source=str(tmp_path)))
    records = source.records("train") + source.records("validation")
    assert len(records) == 20
    assert len({r.image for r in records}) == 10  # equal images are one, so that none is on two sides
    shades = {r.id: source.image(r).getpixel((0, 0))[0] for r in records[::-1]}
    assert shades["train-00001-of-00002-9"] == 90
    assert shades["train-00000-of-00002-1"] == 0
    assert sorted(shades.values()) == sorted([10 * (n // 2) for n in range(20)])
    assert any("1 image is in both training and test" in line for line in source.warnings)
    reopened = pickle.loads(pickle.dumps(source))
    assert reopened.image(records[0]).size == (8, 8)


def test_parquet_with_paths_and_with_conversations(tmp_path):
    picture(tmp_path / "a.png")
    parquet(tmp_path / "a.parquet", [{"image": "a.png", "question": "Q", "answer": "A"}])
    talk = [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]
    parquet(tmp_path / "b.parquet", [{"id": "1", "image": png(3), "conversations": talk}])
    for name in "ab":
        reading = read_file(tmp_path / f"{name}.parquet")
        assert reading.problems == []
        assert reading.records[0].turns == (("Q", "A"),)


def test_damaged_parquet_is_told(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "Parquet" in read_file(tmp_path / "a.parquet").problems[0].message


def test_a_folder_without_data_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="no data file found") as error:
        read_data(tmp_path)
    assert "train" in error.value.hint


def test_a_data_file_of_a_folder_may_not_lead_out_of_it(tmp_path):
    (tmp_path / "set").mkdir()
    write_json(tmp_path / "secret.json", [])
    (tmp_path / "set/train.json").symlink_to(tmp_path / "secret.json")
    assert "leaves the folder" in read_data(tmp_path / "set")[0].problems[0].message


def test_ids_differ_among_the_files_of_a_split(tmp_path):
    for number in range(2):
        (tmp_path / f"train-{number}.csv").write_text("id,image,question,answer\n7,a.png,Q,A\n")
    problems = [p for reading in read_data(tmp_path) for p in reading.problems]
    assert [(p.row, p.field) for p in problems] == [(1, "id")]
