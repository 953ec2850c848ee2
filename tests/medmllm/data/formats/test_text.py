"""Rows of text files: the same as a parser of whole files gives, in bounded memory, and never an exception."""

import json
import random
import tracemalloc

import pytest

from medmllm.data.cutting import write_subset
from medmllm.data.formats import read_file, text
from medmllm.data.formats.reading import Reading


def rows_of(path):
    reading = Reading(path, path.parent)
    return list(text.text_rows(reading)), reading.problems


@pytest.mark.parametrize("piece", [1, 7, 64, 2**20])
def test_a_list_is_read_as_a_whole_parser_reads_it(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(text, "_PIECE", piece)
    draw = random.Random(0)
    rows = [
        {
            "id": n,
            "x": draw.random() * 10 ** draw.randrange(-9, 9),
            "t": '"\\ é😀\n' * draw.randrange(4),
            "n": [None, True],
        }
        for n in range(40)
    ] + [3, -1.5e-7, "text", [], {}, None]
    for layout in ({"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}):
        (tmp_path / "a.json").write_text("\ufeff \n" + json.dumps(rows, **layout) + "\n ", encoding="utf-8")
        found, problems = rows_of(tmp_path / "a.json")
        assert problems == []
        assert [row for _, row in found] == rows
        assert [number for number, _ in found] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    "content",
    ["[1, 2", "[1 2]", "[1,]", "[1] 2", "[", "[tru]", '["abc', '[{"a": }]', "[1, nope]", "[\x00]", "[" * 9000],
)
def test_what_is_not_json_is_told_once(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    _, problems = rows_of(tmp_path / "a.json")
    assert len(problems) == 1
    assert "not JSON" in problems[0].message


def test_wrong_bytes_are_told_by_their_place(tmp_path):
    (tmp_path / "a.json").write_bytes(b'["abc", "d\xffe"]')
    assert "byte 10" in rows_of(tmp_path / "a.json")[1][0].message
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"b": "\xff"}\n{"c": 3}\n')
    found, problems = rows_of(tmp_path / "a.jsonl")
    assert [number for number, _ in found] == [1, 3]
    assert [(p.row, "UTF-8" in p.message) for p in problems] == [(2, True)]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_an_endless_row_is_refused_in_little_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(text, "LONGEST_ROW", 2**14)
    monkeypatch.setattr(text, "_PIECE", 2**12)
    start, end = ('[{"t": "', '"}]') if name == "a.json" else ('{"t": "', '"}\n{"id": 2}')
    (tmp_path / name).write_text(start + "x" * 2**22 + end)
    tracemalloc.start()
    found, problems = rows_of(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("longer than" in p.message for p in problems)
    assert peak < 2**19
    assert len(found) == (name == "a.jsonl")  # the line after the long one


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_a_line_of_two_gigabytes_is_refused_within_seconds(tmp_path, name):
    import time

    with (tmp_path / name).open("wb") as file:
        file.write(b'[{"t": "' if name == "a.json" else b'{"t": "')
        for _ in range(2048):
            file.write(b"x" * 2**20)
    begin = time.process_time()
    tracemalloc.start()
    _, problems = rows_of(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "longer than" in problems[0].message
    assert time.process_time() - begin < 20
    assert peak < 300 * 2**20


def test_a_number_of_thousands_of_digits_is_told(tmp_path):
    (tmp_path / "a.json").write_text('[{"id": ' + "9" * 6000 + "}]")
    found, problems = rows_of(tmp_path / "a.json")
    assert found == []
    assert [problem.message for problem in problems] == ["a number has too many digits in row 1"]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", ","), ("a.tsv", ";")])
def test_the_head_line_tells_what_separates_columns(tmp_path, name, separator):
    lines = [["Image", "Question", "Answer", "Patient ID"], ["a.png", '"Left, right; or both?"', "left", "p1"]]
    (tmp_path / name).write_text("\n".join(map(separator.join, lines)))
    reading = read_file(tmp_path / name)
    assert reading.problems == reading.warnings == []
    assert [(r.question, r.answer, r.subject) for r in reading.records] == [("Left, right; or both?", "left", "p1")]


def test_a_cut_table_keeps_its_separator(tmp_path):
    rows = [f"{number}.png;Is it, or not?;yes" for number in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(["image;question;answer", *rows]))
    write_subset(tmp_path / "a.csv", tmp_path / "b.csv", 0.5)
    assert set((tmp_path / "b.csv").read_text().splitlines()[1:]) < set(rows)


def test_a_table_without_a_known_column_is_one_problem_that_shows_them(tmp_path):
    (tmp_path / "a.csv").write_text("Bild|Frage\n" + "a.png|Ist es?\n" * 6)
    (problem,) = read_file(tmp_path / "a.csv").problems
    assert "Bild|Frage" in problem.message
    assert "semicolons" in problem.hint
