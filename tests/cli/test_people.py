"""What commands say of people: a column that is not read, no person at all, a person on two sides."""

import json

import faults
import pytest


@pytest.fixture
def table(tmp_path):
    """Writes a table of forty images, two of each person, under a name of the person's column."""

    def write(column):
        lines = [f"image,question,answer,{column}"]
        for number in range(40):
            faults.drawing(number).save(tmp_path / f"{number}.png")
            lines.append(f"{number}.png,Is it?,yes,p{number // 2}")
        (tmp_path / "all.csv").write_text("\n".join(lines))
        return "all.csv"

    return write


def people(path):
    return {line.rpartition(",")[2] for line in path.read_text().splitlines()[1:]}


def test_a_person_column_of_dicom_parts_people(exgra, table, tmp_path):
    result = exgra("data", "split", table("PatientID"), "my/parts")
    assert result.code == 0
    assert "people" in result.out
    assert "warning" not in result.err
    sides = [people(tmp_path / f"my/parts/{name}.csv") for name in ("train", "validation", "test")]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20


def test_an_unknown_person_column_is_named_and_images_are_called_images(exgra, table):
    file = table("Kennung")
    split = exgra("data", "split", file, ".")
    assert "columns that are not read: Kennung" in split.err
    assert "no row names a person" in split.err
    assert "images" in split.out.splitlines()[0]
    stats = exgra("data", "stats", file)
    assert "columns that are not read: Kennung" in stats.err
    assert "images, as no row names a person" in stats.out
    assert "people" not in stats.out
    told = exgra("data", "validate", file)
    assert told.code == 0
    assert "columns that are not read: Kennung" in told.err
    assert "no row names a person" in told.err


@pytest.mark.parametrize("words", [["--dry-run"], ["train.steps=1"]])
def test_training_tells_of_people_on_two_sides(exgra, tiny, tmp_path, words):
    rows = json.loads((tiny.parent / "data.json").read_text())
    for number, row in enumerate(rows):
        row["subject"] = f"p{number // 2}"
    half = len(rows) // 2 + 1
    for name, part in (("train", rows[:half]), ("test", rows[half:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    settings = ["data.source=train.json", "data.test=test.json", f"data.images={tiny.parent}"]
    result = exgra("train", tiny, *settings, *words, "--out", "run")
    assert result.code == 0
    assert "1 person is in both training and test" in " ".join((result.out + result.err).split())
    if words != ["--dry-run"]:
        told = json.loads((tmp_path / "run/data.json").read_text())["warnings"]
        assert any("1 person is in both training and test" in line for line in told)
