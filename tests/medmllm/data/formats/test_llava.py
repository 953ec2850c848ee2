"""LLaVA-style files: what is read, and every fault with its row."""

import json

import pytest

from medmllm.data.formats import joined, raise_all, read_file
from medmllm.errors import DataError


def turn(speaker, value):
    return {"from": speaker, "value": value}


def row(identity="1", **changes):
    talk = [turn("human", "<image>\nIs it normal?"), turn("gpt", "No")]
    return {"id": identity, "image": "a.png", "conversations": talk} | changes


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, name="train.json"):
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(tmp_path / name)

    return write_and_read


def test_a_full_row(read):
    talk = [turn("human", "<image>\nNormal?"), turn("gpt", "No"), turn("human", "Where?"), turn("gpt", "Left lung")]
    long = [talk[0], turn("gpt", "It is not normal."), talk[2], turn("gpt", "A shadow lies in the left lung.")]
    reading = read([row(conversations=talk, conversations_long=long, answer_type="CLOSED", subject="p9")])
    record = reading.records[0]
    assert reading.problems == reading.warnings == []
    assert record.turns == (("Normal?", "No"), ("Where?", "Left lung"))
    assert record.sentence == "No. Left lung"
    assert record.caption == "It is not normal. A shadow lies in the left lung."
    assert (record.kind, record.subject, record.source) == ("closed", "p9", "train.json")


def test_what_may_be_absent(read):
    record = read([row(7, image="./scans/../a.png")]).records[0]
    assert (record.id, record.image, record.subject, record.kind) == ("7", "a.png", "a.png", "closed")
    assert record.caption == record.sentence == "No"


def test_the_known_misspellings_are_read_with_one_counted_warning_each(read):
    rows = [row(i) for i in range(3)]
    for each in rows:
        each["conversatons"] = each.pop("conversations")
    rows[0]["conversatons_long"] = [turn("human", "Is it?"), turn("gpt", "It is not")]
    reading = read(rows)
    assert reading.records[0].caption == "It is not"
    assert [line.split(": ")[1] for line in reading.warnings] == [
        "`conversatons` in 3 rows is read as `conversations`",
        "`conversatons_long` in 1 row is read as `conversations_long`",
    ]


def test_json_lines_count_lines(read):
    reading = read(json.dumps(row(1)) + "\n\n{bad\n" + json.dumps(row(2)), "train.jsonl")
    assert reading.rows == {"1": 1, "2": 4}
    assert [p.row for p in reading.problems] == [3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("[]", "has no rows"),
        ("{not json", "not JSON"),
        ('{"data": []}', "an object with the keys data, not a list"),
        ("{}", "the top level is an object, not a list"),
        ('{"\\ud800": 1}', "keys \\ud800, not a list"),
        ("3", "a number, not a list"),
        (b"\xff\xfe[", "not UTF-8"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_files_that_cannot_be_read_as_a_whole(read, content, message):
    reading = read(content)
    assert len(reading.problems) == 1
    assert message in reading.problems[0].message
    assert reading.problems[0].hint


FAULTS = [
    ("a text", "", "must be an object, not a text"),
    ({"id": [1]}, "id", "is a list"),
    ({"image": None}, "image", "is missing"),
    ({"image": 3}, "image", "is a number"),
    ({"image": "../a.png"}, "image", "leaves"),
    ({"image": "/etc/passwd"}, "image", "absolute"),
    ({"image": "a\0b"}, "image", "null"),
    ({"answer_type": {}}, "answer_type", "is an object"),
    ({"conversations": None}, "conversations", "is missing"),
    ({"conversations": []}, "conversations", "is empty"),
    ({"conversations": "hello"}, "conversations", "is a text"),
    ({"conversations": [turn("human", "?")]}, "conversations", "ends with a question"),
    ({"conversations": [turn("gpt", "?"), turn("gpt", "!")]}, "conversations[0].from", "'gpt' where 'human'"),
    ({"conversations": [turn("human", "?"), turn("gpt", " ")]}, "conversations[1].value", "is empty"),
    ({"conversations": [turn("human", "<image>"), turn("gpt", "a")]}, "conversations[0].value", "is empty"),
    ({"conversations": [turn("human", "?"), turn("gpt", "<image>")]}, "conversations[1].value", "again"),
    ({"conversations": [3, turn("gpt", "a")]}, "conversations[0]", "needs the texts"),
    ({"conversations_long": {}}, "conversations_long", "is an object"),
    ({"id": "\ud800"}, "id", "half of a character ('\\ud800')"),
    ({"image": "\ud800.png"}, "image", "half of a character"),
    ({"subject": "\udfff"}, "subject", "half of a character"),
    ({"conversations": [turn("human", "?"), turn("gpt", "\ud83d")]}, "conversations[1].value", "half of a character"),
]


@pytest.mark.parametrize(("change", "name", "message"), FAULTS)
def test_each_fault_is_told_with_row_and_field(read, change, name, message):
    reading = read([row(1), row(2) | change if isinstance(change, dict) else change, row(3)])
    assert [(p.row, p.field) for p in reading.problems] == [(2, name)]
    assert message in reading.problems[0].message
    assert [record.id for record in reading.records] == ["1", "3"]


def test_all_faults_of_a_file_are_told_at_once(read):
    faulty = [row(i) | change for i, (change, *_) in enumerate(FAULTS) if isinstance(change, dict)]
    problems = read(faulty).problems
    assert [p.row for p in problems] == list(range(1, len(faulty) + 1))
    with pytest.raises(DataError, match=f"has {len(faulty)} problems") as error:
        raise_all(problems)
    assert error.value.where.endswith("train.json: row 1")
    assert "13 more" in error.value.message


def test_both_halves_of_a_character_are_text(read):
    reading = read([row(conversations=[turn("human", "?"), turn("gpt", "\U0001f600")])])
    assert reading.records[0].caption == "\U0001f600"
    assert reading.problems == []


def test_ids_must_differ(read):
    problem = read([row(1), row("2"), row("1")]).problems[0]
    assert (problem.row, problem.field) == (3, "id")
    assert "row 1" in problem.message


def test_an_image_has_one_subject(read):
    problem = read([row(1, subject="p1"), row(2, subject="p2")]).problems[0]
    assert (problem.row, problem.field) == (2, "subject")


def test_joined_does_not_double_stops():
    assert joined(["One.", "Two", "Three?", "Four"]) == "One. Two. Three? Four"
    assert joined([]) == ""
