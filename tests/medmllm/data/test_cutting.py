"""Cut files: rows as they were, people on one side, paths that still lead to the images."""

import csv
import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.cutting import write_split, write_subset
from medmllm.data.describe import describe_data
from medmllm.data.formats import Wanted, read_file
from medmllm.data.guessing import majority_answers
from medmllm.data.sources import open_source
from medmllm.data.stats import stats
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.scores import Sample, score


def rows(count=60):
    found = []
    for number in range(count):
        answer = "yes" if number % 3 else "a bone"
        talk = [{"from": "human", "value": "<image>\nIs it?"}, {"from": "gpt", "value": answer}]
        row = {
            "id": number,
            "image": f"images/{number // 2}.png",
            "subject": f"p{number // 4}",
            "extra": {"é": [number]},
        }
        found.append(row | {"conversations": talk, "answer_type": "CLOSED" if number % 3 else "OPEN"})
    return found


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(30):
        Image.new("L", (4, 4), number).save(tmp_path / f"images/{number}.png")
    (tmp_path / "data.json").write_text(json.dumps(rows()))
    return tmp_path / "data.json"


def test_a_subset_holds_rows_as_they_were(data):
    found = write_subset(data, data.with_name("tenth.json"), 0.1)
    write_subset(data, data.with_name("most.jsonl"), 0.4)
    assert (found["rows"], found["of"]) == (6, 60)
    assert found["strata"] == {"closed": [4, 40], "open": [2, 20]}
    tenth = json.loads(data.with_name("tenth.json").read_text())
    most = [json.loads(line) for line in data.with_name("most.jsonl").read_text().splitlines()]
    assert all(row in rows() for row in tenth + most)
    assert all(row in most for row in tenth)
    assert Counter(row["answer_type"] for row in most) == {"CLOSED": 16, "OPEN": 8}


def test_a_subset_elsewhere_still_finds_its_images(data, tmp_path):
    (tmp_path / "small").mkdir()
    write_subset(data, tmp_path / "small/cut.json", 0.5)
    source = open_source(DataConfig(source=str(tmp_path / "small/cut.json"), allow_outside=True))
    assert source.image(source.records("train")[0]).size == (4, 4)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_subset_of_a_table(data, ending):
    flat = [{"image": r["image"], "question": "Q, or\nnot", "answer": str(r["id"])} for r in rows()]
    with data.with_name(f"flat.{ending}").open("w", newline="") as file:
        writer = csv.DictWriter(file, flat[0], delimiter="," if ending == "csv" else "\t")
        writer.writeheader()
        writer.writerows(flat)
    write_subset(data.with_name(f"flat.{ending}"), data.with_name(f"cut.{ending}"), 0.2, by="none")
    reading = read_file(data.with_name(f"cut.{ending}"))
    assert (len(reading.records), reading.problems) == (12, [])
    assert reading.records[0].question == "Q, or\nnot"


def test_a_subset_of_parquet(data, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    content = [
        {"id": n, "image": {"bytes": bytes([n]) * 9, "path": None}, "question": "Q", "answer": "A"} for n in range(20)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(content), tmp_path / "a.parquet", row_group_size=6)
    write_subset(tmp_path / "a.parquet", tmp_path / "b.parquet", 0.3)
    kept = parquet.read_table(tmp_path / "b.parquet").to_pylist()
    assert len(kept) == 6
    assert all(row in content for row in kept)


def test_a_path_that_is_not_one_data_file_is_told_what_it_is(data, tmp_path):
    none = tmp_path / "none"
    faults = [
        (data.with_name("dota.json"), "the data file does not exist$", f"did you mean {data}?"),
        (none / "q.csv", f"the data file does not exist, nor its folder {none}$", "check the path"),
        (data.parent, "this is a folder", "give one file"),
        (Path("embedded"), "the data file does not exist", "names of `exgra data list` are not read here"),
    ]
    for path, message, hint in faults:
        for cut in (partial(write_subset, fraction=0.5), partial(write_split, validation=0.2, test=0.2)):
            with pytest.raises(DataError, match=message) as error:
                cut(path, tmp_path / "cut")
            assert hint in error.value.hint


def test_nothing_is_replaced_and_no_kind_changed(data, tmp_path):
    with pytest.raises(ConfigError, match="exists already"):
        write_subset(data, data, 0.5)
    with pytest.raises(ConfigError, match=r"must end with \.json"):
        write_subset(data, tmp_path / "cut.csv", 0.5)
    with pytest.raises(ConfigError, match="does not exist"):
        write_subset(data, tmp_path / "none/cut.json", 0.5)
    with pytest.raises(DataError, match="does not exist"):
        write_subset(tmp_path / "none.json", tmp_path / "cut.json", 0.5)
    assert not list(tmp_path.glob("*.part"))


def test_a_published_set_may_leave_its_images_and_the_settings_find_them(tmp_path):
    (tmp_path / "slake/imgs").mkdir(parents=True)
    row = {"img_name": "a.jpg", "q_lang": "en", "question": "Q", "answer": "A", "qid": 1, "img_id": 1}
    (tmp_path / "slake/train.json").write_text(json.dumps([row, row | {"qid": 2}]))
    found = write_subset(tmp_path / "slake/train.json", tmp_path / "cut.json", 0.5)
    assert found["settings"] == [f"data.images={tmp_path / 'slake'}"]
    (record,) = read_file(tmp_path / "cut.json", folder=tmp_path / "slake").records
    assert record.image == "imgs/a.jpg"
    assert write_subset(tmp_path / "slake/train.json", tmp_path / "slake/cut.json", 0.5)["settings"] == []


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_split_replaces_the_one_that_rows_name(tmp_path, ending):
    content = [
        {"image": f"{n}.png", "question": "Is it?", "answer": "yes", "Split": ["train", "test"][n % 2]}
        for n in range(20)
    ]
    if ending == "csv":
        lines = [",".join(content[0]), *(",".join(row.values()) for row in content)]
        (tmp_path / "a.csv").write_text("\n".join(lines))
    elif ending == "json":
        (tmp_path / "a.json").write_text(json.dumps(content))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(content), tmp_path / "a.parquet")
    found = write_split(tmp_path / f"a.{ending}", tmp_path / "parts", validation=0.2, test=0.2)
    for name, entry in found.items():
        cut = read_file(tmp_path / f"parts/{name}.{ending}", wanted=Wanted(allow_outside=True))
        assert {record.split for record in cut.records} == {name}
        assert entry["rows"] == {"train": 12, "validation": 4, "test": 4}[name]


def test_a_split_parts_people(data, tmp_path):
    found = write_split(data, tmp_path, validation=0.1, test=0.2, seed=3)
    assert {name: entry["rows"] for name, entry in found.items()} == {"train": 40, "validation": 8, "test": 12}
    source = open_source(DataConfig(source=str(tmp_path)))
    people = [{r.subject for r in source.records(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, people)) == len(set.union(*people)) == 15
    kept = [row for name in found for row in json.loads((tmp_path / f"{name}.json").read_text())]
    assert sorted(kept, key=lambda row: row["id"]) == rows()


def test_impossible_splits_are_refused(data, tmp_path):
    for validation, test in ((0.5, 0.5), (0, 0), (-0.1, 0.2)):
        with pytest.raises(ConfigError, match="shares"):
            write_split(data, tmp_path, validation=validation, test=test)
    with pytest.raises(DataError, match="too few"):
        write_split(data, tmp_path, validation=0.001, test=0.2)
    assert not (tmp_path / "train.json").exists()
    (tmp_path / "test.json").write_text("precious")
    with pytest.raises(ConfigError, match=r"test.json exists already"):
        write_split(data, tmp_path, validation=0.1, test=0.2)
    assert not (tmp_path / "train.json").exists()


def test_stats_say_what_guessing_gets(data):
    found = stats(open_source(DataConfig(source=str(data))))
    assert found["train"]["kinds"]["closed"]["answer"] == 1
    kinds = found["test"]["kinds"]
    assert (kinds["closed"]["guess"], kinds["open"]["guess"]) == (1, 0)  # all rows ask the same: "yes" is guessed
    assert found["train"]["rows_a_person"] == {"least": 4, "median": 4, "most": 4}


def test_stats_count_and_guess_as_a_run_scores(tmp_path):
    """ "No", "no" and "no." are one answer, and guessing is by question, as beside the accuracy of a run."""
    rows = []
    said = {"train": ["No", "no", "yes", "no."], "validation": ["no"], "test": ["No", "no", "yes", "No", "NO."]}
    for split, answers in said.items():
        for number, answer in enumerate(answers):
            name = f"{split}{number}.png"
            Image.new("L", (8, 8), len(rows)).save(tmp_path / name)
            row = {"image": name, "question": "Is it large?", "answer": answer, "subject": name, "split": split}
            rows += [row, row | {"question": "Is it bright?", "answer": "yes"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    source = open_source(DataConfig(source=str(tmp_path / "rows.json")))
    test, train = source.records("test"), source.records("train")
    found = stats(source)["test"]
    run = score([Sample(record, "no") for record in test], majority_answers(train))
    assert found["guess"] == run["majority"] == 0.9  # 4 of 5, and 5 of 5; by kind it would be 0.6
    assert found["kinds"]["closed"] == {"rows": 10, "answer": 0.6, "guess": 0.9}
    assert run["accuracy"] == 0.4
    assert describe_data(source)["splits"]["test"]["kinds"]["closed"]["answers"] == {"yes": 6, "No": 4}


def test_rows_in_another_language_are_cut_if_asked_for_and_counted_if_not(tmp_path):
    rows = [
        {
            "img_name": f"{n}.jpg",
            "q_lang": "zh" if n % 2 else "en",
            "question": "Q",
            "answer": "A",
            "img_id": n,
            "qid": n,
        }
        for n in range(8)
    ]
    for n in range(8):
        (tmp_path / "imgs").mkdir(exist_ok=True)
        Image.new("L", (8, 8), n).save(tmp_path / f"imgs/{n}.jpg")
    (tmp_path / "train.json").write_text(json.dumps(rows))
    heard: list[str] = []
    english = write_subset(tmp_path / "train.json", tmp_path / "en.json", 1.0, on_warning=heard.append)
    assert (english["of"], english["settings"]) == (4, [])
    assert any("4 rows are left out" in line for line in heard)
    found = write_subset(tmp_path / "train.json", tmp_path / "zh.json", 1.0, language="zh")
    assert (found["of"], found["settings"]) == (4, ["data.language=zh"])
    assert {row["q_lang"] for row in json.loads((tmp_path / "zh.json").read_text())} == {"zh"}
    sides = write_split(tmp_path / "train.json", tmp_path / "cut", validation=0.25, test=0.25, language="all")
    assert sum(side["rows"] for side in sides.values()) == 8
    assert "data.language=all" in sides["train"]["settings"]
