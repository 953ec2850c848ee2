"""`exgra data`: exit codes, files, and one JSON document."""

import csv
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import faults
import pytest

from medmllm.data import catalog


def test_every_planted_fault_stands_in_table_json_and_csv(exgra, tmp_path):
    wanted = faults.plant(tmp_path)
    result = exgra("data", "validate", ".", "--csv", "problems.csv", "--json")
    assert result.code == 3
    assert set(result.json["checks"]) == set(wanted)
    lines = list(csv.DictReader((tmp_path / "problems.csv").read_text().splitlines()))
    assert {(Path(line["file"]).stem, int(line["row"]) if line["row"] else None) for line in lines} == set.union(
        *wanted.values()
    )
    table = exgra("data", "validate", ".")
    assert table.code == 3
    heads = [line.split() for line in table.out.splitlines() if line.split()[0] in wanted and not line.startswith(" ")]
    assert {
        check: sum(int(n.strip("():")) for name, n, *_ in heads if name == check) for check in wanted
    } == result.json["checks"]


def test_checks_can_be_left_out(exgra, tmp_path):
    wanted = faults.plant(tmp_path)
    words = [word for check in wanted if check != "deep-image" for word in ("--ignore", check)]
    assert set(exgra("data", "validate", ".", "--json", *words).json["checks"]) == {"deep-image"}
    assert exgra("data", "validate", ".", *words, "--ignore", "deep-image").code == 0
    assert exgra("data", "validate", ".", "--ignore", "deep").code == 2


def test_the_room_of_a_model_decides_what_is_too_long(exgra, tmp_path):
    faults.save(tmp_path, faults.clean(tmp_path))
    assert exgra("data", "validate", ".").code == 0
    assert exgra("data", "validate", ".", "--max-length", 60, "--json").json["checks"] == {"too-long": 40}
    assert exgra("data", "validate", ".", "--image-tokens", 576, "--json").json["checks"] == {"too-long": 40}


def test_a_wrong_window_is_wrong_usage(exgra):
    result = exgra("data", "validate", "--window", "lungs")
    assert result.code == 2
    assert "soft_tissue" in result.err


@pytest.fixture
def data(tmp_path):
    rows = faults.clean(tmp_path)
    (tmp_path / "all.json").write_text(json.dumps(rows["train"] + rows["validation"]))
    return tmp_path / "all.json"


def test_cutting_and_splitting(exgra, data, tmp_path):
    assert exgra("data", "subset", data, "tenth.json", "--fraction", "0.1", "--json").json["rows"] == 4
    assert exgra("data", "subset", data, "tenth.json", "--fraction", "0.1").code == 2
    assert exgra("data", "subset", data, "x.json", "--fraction", "1.5").code == 2
    assert exgra("data", "subset", data, "x.json", "--fraction", "0.5", "--by", "colour").code == 2
    found = exgra("data", "split", data, ".", "--json").json
    assert {name: entry["rows"] for name, entry in found.items()} == {"train": 28, "validation": 4, "test": 8}
    (tmp_path / "tenth.json").unlink()
    assert exgra("data", "validate", ".").code == 0


def test_stats(exgra, data):
    assert exgra("data", "stats", data, "--json").json["train"]["kinds"]["closed"]["guess"] == 1
    said = exgra("data", "stats", data).out
    assert "commonest answer  guessing" in said
    assert "guessing: the most common training answer to the same question" in said


def test_named_sets_are_listed_and_prepared(exgra, monkeypatch, tmp_path):
    monkeypatch.setenv("EXGRA_CACHE", str(tmp_path / "cache"))
    listed = {entry["name"]: entry["status"] for entry in exgra("data", "list", "--json").json}
    assert listed["embedded"] == "ready"
    assert listed["registry"] == "to be made"
    assert listed["slake"] == "to be downloaded"
    result = exgra("data", "prepare", "slake")
    assert result.code == 2
    assert "hf download BoKelvin/SLAKE" in result.err
    picture = faults.drawing(1)
    (tmp_path / "set/imgs").mkdir(parents=True)
    picture.save(tmp_path / "set/imgs/a.jpg")
    row = {"img_name": "a.jpg", "q_lang": "en", "question": "Q", "answer": "A", "img_id": 1, "qid": 1}
    (tmp_path / "set/train.json").write_text(json.dumps([row]))
    result = exgra("data", "prepare", "slake", "--from", "set")
    assert result.code == 0
    assert "no published edition (train 4919, validation 1053, test 1061)" in " ".join(result.err.split())
    assert {e["name"]: e["status"] for e in exgra("data", "list", "--json").json}["slake"] == "ready"
    assert exgra("data", "prepare", "embedded", "--json").json["rows"]["test"] == 2062


def test_published_files_are_known_with_the_row_that_is_left_out(exgra, monkeypatch, tmp_path):
    """The published SLAKE has a training row without an answer, which is not read: 3 rows of 4 are the edition's 4."""
    monkeypatch.setenv("EXGRA_CACHE", str(tmp_path / "cache"))
    edition = {"train": 4, "validation": 1, "test": 2}
    monkeypatch.setattr(catalog, "ENTRIES", tuple(
        replace(one, rows=(edition,)) if one.name == "slake" else one for one in catalog.ENTRIES
    ))  # fmt: skip
    (tmp_path / "set/imgs").mkdir(parents=True)
    faults.drawing(1).save(tmp_path / "set/imgs/a.jpg")
    for split, name in {"train": "train", "validation": "validate", "test": "test"}.items():
        row = {"img_name": "a.jpg", "q_lang": "en", "question": "Q", "answer": "A", "img_id": 1}
        rows = [row | {"qid": n, "answer": "" if n == 3 else "A"} for n in range(edition[split])]
        (tmp_path / f"set/{name}.json").write_text(json.dumps(rows))
    found = exgra("data", "prepare", "slake", "--from", "set", "--json").json
    assert (found["rows"], found["left_out"], found["known"]) == (edition | {"train": 3}, {"train": 1}, True)


def test_captions_by_rules_from_estimate_to_file(exgra, data, tmp_path):
    words = ("data", "extend-captions", data, "long.json", "--rules")
    assert exgra(*words, "--dry-run", "--json").json["todo"] == 40
    assert "give --price-in" in exgra(*words, "--dry-run", "--per-minute", "60").out
    assert not (tmp_path / "long.json").exists()
    result = exgra(*words, "--json")
    assert (result.code, result.json["written"], result.json["failed"]) == (0, 40, [])
    described = exgra("data", "describe", "long.json", "--json").json
    assert described["splits"]["train"]["caption_words"]["least"] > 20
    assert exgra(*words).code == 2  # nothing is replaced


def test_who_writes_captions_must_be_said(exgra, data, tmp_path, monkeypatch):
    assert exgra("data", "extend-captions", data, "long.json").code == 2
    assert exgra("data", "extend-captions", data, "long.json", "--rules", "--local", "x").code == 2
    asked = ("--endpoint", "https://api.example.org/v1")
    assert exgra("data", "extend-captions", data, "long.json", *asked).code == 2
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = exgra("data", "extend-captions", data, "long.json", *asked, "--model", "m", "--dry-run", "--json")
    assert result.json["todo"] == 40
    assert "sk-secret" not in result.out + result.err
    (tmp_path / "PRIVATE").touch()
    result = exgra("data", "extend-captions", data, "long.json", *asked, "--model", "m", "--dry-run")
    assert result.code == 2
    assert "private" in result.err


def test_tars_of_others_are_indexed_and_described(exgra, tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    (tmp_path / "1.txt").write_text("A box.")
    for number in (1, 2):
        faults.drawing(number).save(tmp_path / f"{number}.png")
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name in ("1.png", "1.txt", "2.png"):
            tar.add(tmp_path / name, name)
    stopped = exgra("data", "index", folder)
    assert stopped.code == 3
    assert "--incomplete skip" in stopped.err
    told = exgra("data", "index", folder, "--incomplete", "skip", "--json")
    assert told.code == 0
    assert told.json == {"folder": str(folder), "shards": 1, "samples": 1, "left_out": 1}
    assert exgra("data", "index", folder).code == 2


def test_questions_are_exported_for_other_systems_and_scored_by_what_lies_beside(exgra, data, tmp_path):
    result = exgra("data", "export", data, "out", "--format", "biomedgpt", "--json")
    assert result.code == 0
    assert sum(result.json["rows"].values()) == 40
    assert "exgra eval --references" in result.err
    split = next(iter(result.json["rows"]))
    rows = [line.split("\t") for line in (tmp_path / f"out/{split}.tsv").read_text().splitlines()]
    said = [{"question_id": int(row[0]), "answer": row[3].removeprefix("1|!+")} for row in rows]
    (tmp_path / "said.json").write_text(json.dumps(said))
    scored = exgra("eval", "--references", f"out/questions/{split}.jsonl", "--predictions", "said.json", "--json")
    assert scored.json["strict"]["exact_match_all"] == 100
    assert exgra("data", "export", data, "out", "--format", "radfm").code == 2
    assert exgra("data", "export", data, "other", "--format", "radmf").code == 2


def test_a_lone_file_named_after_its_split_is_described_whole(exgra, data, tmp_path):
    (tmp_path / "test.json").write_bytes((tmp_path / data).read_bytes())
    assert {name: split["rows"] for name, split in exgra("data", "stats", "test.json", "--json").json.items()} == {
        "test": 40
    }
    assert len(exgra("data", "stats", data, "--json").json) == 3


def test_a_share_in_percent_is_told_as_a_number(exgra):
    result = exgra("data", "split", "rows.csv", "out", "--test", "20%")
    assert result.code == 2
    assert "0.2 for 20 %" in result.err
    wrong = exgra("train", "data.fraction=20%", "--dry-run")
    assert "a share is written as 0.2" in wrong.err
