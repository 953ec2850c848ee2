"""Columns under any spelling of their names, and those that nobody reads."""

import pytest

from medmllm.data.formats import read_file
from medmllm.data.formats.columns import Columns, first, ignored

HEADS = ("PatientID", "Patient ID", "patient-id", "Subject", "MRN", "SUBJECT_ID", "patient")


def table(path, head, row):
    path.write_text(f"{head}\n{row}\n")
    return read_file(path)


@pytest.mark.parametrize("head", HEADS)
def test_a_person_is_read_under_every_usual_name(tmp_path, head):
    reading = table(tmp_path / "a.csv", f"Image,Question,Answer,{head}", "a.png,Is it?,yes,p1")
    assert [record.subject for record in reading.records] == ["p1"]
    assert reading.problems == reading.warnings == []


@pytest.mark.parametrize("head", HEADS)
def test_a_person_of_a_conversation_too(tmp_path, head):
    talk = '[{"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes"}]'
    (tmp_path / "a.json").write_text(f'[{{"id": 1, "image": "a.png", "{head}": "p1", "conversations": {talk}}}]')
    assert [record.subject for record in read_file(tmp_path / "a.json").records] == ["p1"]


def test_the_other_columns_are_read_however_they_are_spelt(tmp_path):
    head = "Image Path,QUESTION,Answer,Question-ID,Caption,Split,Modality,Option A"
    record = table(tmp_path / "a.csv", head, "a.png,Is it?,yes,q7,A lung.,test,CT,yes").records[0]
    assert (record.image, record.question, record.answer, record.id) == ("a.png", "Is it?", "yes", "q7")
    assert (record.caption, record.split, record.modality, record.options) == ("A lung.", "test", "CT", ("yes",))


def test_columns_that_are_not_read_are_named_with_the_nearest(tmp_path):
    reading = table(tmp_path / "a.csv", "image,question,answer,captoin,ward", "a.png,Is it?,yes,A lung.,4")
    assert reading.warnings == [
        f"{tmp_path / 'a.csv'}: columns that are not read: captoin (did you mean caption?), ward"
    ]


def test_a_misspelt_field_of_a_conversation_is_named(tmp_path):
    talk = '[{"from": "human", "value": "Is it?"}, {"from": "gpt", "value": "yes"}]'
    row = f'{{"id": 1, "image": "a.png", "subjekt": "p1", "domain": {{}}, "conversations": {talk}}}'
    (tmp_path / "a.json").write_text(f"[{row}]")
    assert [line.split(": ")[1] for line in read_file(tmp_path / "a.json").warnings] == [
        "subjekt is not read; did you mean subject?"
    ]


def test_the_first_name_with_a_value_is_read():
    assert first({"Subject": "", "MRN": 7}, Columns().subject) == (7, "MRN")
    assert first({}, Columns().subject) == (None, "subject")
    assert list(ignored(["image_id", "File Name"], Columns().names)) == [("image_id", "")]
