"""Which questions are asked where not all are: drawn by person and kind, the same in every run."""

import random
from collections import Counter

import pytest

from medmllm.data.records import Record
from medmllm.evaluate.exam import drawn
from medmllm.evaluate.report import score_items, score_report
from medmllm.evaluate.scores import Sample, score


def record(number, kind, person, answer="yes"):
    return Record(f"q{number}", f"{person}.png", ((f"{kind}?", answer),), "", "", kind, person)


@pytest.fixture
def records():
    """Eight questions about each of fifty images, in table order: every eighth row asks the same."""
    return [record(8 * n + k, f"kind {k}", f"p{n}") for n in range(50) for k in range(8)]


def test_every_kind_is_asked_in_proportion_and_nobody_twice_before_all(records):
    chosen = drawn(records, 80)
    assert Counter(r.kind for r in chosen) == {f"kind {k}": 10 for k in range(8)}
    assert max(Counter((r.kind, r.person) for r in chosen).values()) == 1
    assert len({r.person for r in chosen}) > 35
    assert [r for r in records if r in chosen] == chosen


def test_several_questions_of_a_kind_about_a_person_come_after_others_people():
    rows = [record(n, "kind", f"p{n // 10}") for n in range(100)]
    assert len({r.person for r in drawn(rows, 10)}) == 10


def test_the_draw_depends_on_names_alone_and_grows(records):
    shuffled = records[:]
    random.Random(0).shuffle(shuffled)
    ids = {r.id for r in drawn(records, 40)}
    assert {r.id for r in drawn(shuffled, 40)} == ids
    assert ids < {r.id for r in drawn(records, 60)}
    assert drawn(records, None) is drawn(records, 1000) is records


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        ("Two.", "2", True),
        ("the left lung", "Left lung", True),
        ("-5", "5", False),
        ("", "", False),
        ("½", "1⁄2", True),
    ],
)
def test_a_run_and_the_strict_column_agree_on_exact_answers(said, true, right):
    sample = Sample(record(1, "open", "p", true), said)
    assert score([sample])["accuracy"] == float(right)
    assert score_report(score_items([sample.item]))["strict"]["exact_match_all"] == 100 * right
