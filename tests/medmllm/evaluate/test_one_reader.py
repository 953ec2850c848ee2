"""The same rows, however they are spelt and stored, give the same figures and the same intervals."""

import csv
import json

import pytest

from medmllm.data.formats import read_file
from medmllm.data.formats.columns import SAID, SAID_ID, Columns
from medmllm.evaluate.systems import score_files
from medmllm.evaluate.unanswered import read_questions

STORES = {"csv": ",", "csv;": ";", "csv\t": "\t", "tsv": "\t", "parquet": "", "json": "", "jsonl": "", "llava": ""}
SAID_STORES = [store for store in STORES if store != "llava"]


def rows(**spelt):
    """Forty questions about twenty images of ten people; `spelt` renames columns, or leaves them out."""
    found = []
    for n in range(40):
        row = {
            "id": f"q{n}",
            "image": f"scans/{n // 2}.png",
            "question": f"Which, {n}?",
            "answer": ["yes", "left lung", "no", "liver"][n % 4],
            "subject": f"p{n // 4}",
            "kind": ["Plane", "Organ", "CLOSED"][n % 3],
            "modality": ["CT", "MR"][n // 20],
            "caption": f"A caption; of {n}.",
            "split": "test",
        }
        found.append({spelt.get(name, name): value for name, value in row.items() if spelt.get(name, name)})
    return found


def said(identity="id", text="prediction"):
    return [{identity: f"q{n}", text: row["answer"] if n * n % 7 < 3 else "lung"} for n, row in enumerate(rows())]


def talk(row):
    turns = [{"from": "human", "value": f"<image>\n{row['question']}"}, {"from": "gpt", "value": row["answer"]}]
    return {name: value for name, value in row.items() if name not in ("question", "answer", "caption")} | {
        "conversations": turns
    }


def write(path, content, store):
    file = path.with_suffix("." + store.rstrip(";\t").replace("llava", "json"))
    if store == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(content), file)
    elif STORES[store]:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, content[0], delimiter=STORES[store])
            writer.writeheader()
            writer.writerows(content)
    elif store == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        file.write_text(json.dumps([talk(row) for row in content] if store == "llava" else content))
    return file


@pytest.fixture
def figures(tmp_path):
    def score(references, store="csv", predictions=None, said_store="jsonl"):
        asked = write(tmp_path / "asked", references, store)
        return score_files(asked, write(tmp_path / "said", predictions or said(), said_store))

    return score


@pytest.fixture
def expected(figures):
    found = figures(rows(), "json")
    assert set(found["by_kind"]) == {"Plane", "Organ", "closed"}
    assert set(found["by_modality"]) == {"CT", "MR"}
    low, high = found["intervals"]["strict"]["exact_match_all"]
    assert 0 < low < high < 100
    return found


SPELLINGS = [
    (column, name)
    for column in ("id", "image", "question", "answer", "subject", "kind", "modality", "caption", "split")
    for name in getattr(Columns(), column)
]


@pytest.mark.parametrize("store", STORES)
def test_every_way_to_store_rows_gives_the_same_figures(figures, expected, store):
    assert figures(rows(), store) == expected


@pytest.mark.parametrize(("column", "name"), SPELLINGS)
@pytest.mark.parametrize("spelling", [str, str.upper, lambda name: name.replace("_", " ").title()])
def test_every_spelling_of_every_column_gives_the_same_figures(figures, expected, column, name, spelling):
    assert figures(rows(**{column: spelling(name)})) == expected


@pytest.mark.parametrize("name", ["subject", "patient", "Patient_ID", "PatientID", "subject_id", "mrn"])
@pytest.mark.parametrize("store", ["csv;", "json", "llava"])
def test_the_person_of_every_spelling_is_what_intervals_draw(figures, expected, name, store):
    found = figures(rows(subject=name), store)
    assert found["intervals"] == expected["intervals"]
    assert found["intervals"] != figures(rows(subject=""), store)["intervals"]


@pytest.mark.parametrize("name", Columns().image)
def test_without_a_person_the_image_of_every_spelling_is_drawn(figures, name):
    assert figures(rows(subject="", image=name)) == figures(rows(subject=""), "llava")


@pytest.mark.parametrize("store", SAID_STORES)
def test_predictions_are_stored_in_the_same_ways(figures, expected, store):
    assert figures(rows(), said_store=store) == expected


@pytest.mark.parametrize("identity", SAID_ID)
@pytest.mark.parametrize("text", SAID)
def test_predictions_under_every_name(figures, expected, identity, text):
    assert figures(rows(), predictions=said(identity, text), said_store="csv;") == expected


@pytest.mark.parametrize("store", STORES)
def test_what_is_trained_on_is_predicted_on(tmp_path, store):
    for lacking in ({}, {"id": ""}):
        file = write(tmp_path / "rows", rows(**lacking), store)
        trained = read_file(file)
        assert trained.problems == []
        _, asked = read_questions(file, None)
        assert [r.question for r in asked] == [r.question for r in trained.records]
        assert [r.image for r in asked] == [r.image for r in trained.records]
