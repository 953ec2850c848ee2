"""The strict metrics do not fall for what the published ones fall for."""

import pytest

from medmllm.evaluate import strict


@pytest.mark.parametrize(
    ("said", "true"),
    [
        ("normal", "no"),
        ("active", "ct"),
        ("yes and no", "yes"),
        ("yes and no", "no"),
        ("Yes. No.", "yes"),
        ("yes/no", "no"),
        ("nope", "no"),
        ("", "no"),
        ("", ""),
        ("the", "yes"),
        ("not CT", "ct"),
        ("non-CT", "ct"),
        ("it isn't CT", "CT"),
        ("CT or MRI", "ct"),
        ("MRI or CT", "ct"),
        ("left", "left lung"),
        ("left upper lung", "left lung"),
        ("I'm sorry, no image was given.", "no"),
        ("I have no idea", "no"),
        ("I can't tell.", "no"),
    ],
)
def test_closed_questions_that_are_not_answered(said, true):
    assert strict.closed_hit(said, true) == 0


@pytest.mark.parametrize(
    ("said", "true"),
    [
        ("No.", "no"),
        ("There is no pneumothorax", "No"),
        ("YES, clearly", "yes"),
        ("no, no", "no"),
        ("It is a CT.", "ct"),
        ("the left lung", "Left lung"),
        ("two", "2"),
        ("A", "a"),
        ("not seen", "not seen"),
        ("unknown", "unknown"),
    ],
)
def test_closed_questions_that_are_answered(said, true):
    assert strict.closed_hit(said, true) == 1


def test_a_word_counts_once():
    once, often = (strict.word_scores(said, "left upper lobe") for said in ("left", "left left left"))
    assert once == often
    assert once.recall == 1 / 3


def test_exact_match_is_one():
    assert strict.exact_match("The left lung.", "left lung") == 1
    assert strict.exact_match("left", "left lung") == 0
    assert strict.exact_match("lung left", "left lung") == 0
    assert strict.exact_match("1.5", "15") == strict.exact_match("-5", "5") == strict.exact_match("", "") == 0


def test_refusals_score_nothing_unless_that_is_the_answer():
    assert strict.word_scores("I cannot determine the left lung", "left lung").recall == 0
    assert strict.word_scores("cannot be determined", "cannot be determined").recall == 1


@pytest.mark.parametrize(
    "text", ["", "  ", "?", "I’m sorry, but I can't help.", "As an AI model", "Cannot be determined.", "n/a"]
)
def test_refusals_are_known(text):
    assert strict.is_refusal(text)


@pytest.mark.parametrize(
    "text", ["No", "no abnormality", "not enlarged", "the nature is benign", "unknown primary tumour"]
)
def test_answers_are_no_refusals(text):
    assert not strict.is_refusal(text)


def test_bleu():
    assert strict.bleu("a b c d e f", "b c d e f", order=1) == pytest.approx(
        1.0
    )  # the article does not count as a word
    assert strict.bleu("left lung", "left upper lung lobe", order=1) == pytest.approx(2.718281828459045**-1)
    assert strict.bleu("left left", "left lung", order=1) == 0.5
    assert strict.bleu("x y z u v", "x y z u v") == pytest.approx(1.0)
    assert strict.bleu("x y z", "x y z") == 0  # no run of four words
    assert strict.bleu("", "x") == strict.bleu("x", "") == 0
