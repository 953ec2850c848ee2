"""What counts as the same answer."""

import pytest

from medmllm.text.answers import count_answers, normalise, same_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The left lung.", "left lung"),
        ("  YES!! ", "yes"),
        ("T1-weighted", "t1 weighted"),
        ("an upper  third", "upper third"),
        ("1.5 mm, or -5 HU?", "1.5 mm or -5 hu"),
        ("L4-5", "l4 5"),
        ("A.", "a"),
        ("?!", ""),
    ],
)
def test_normalise_drops_only_what_does_not_matter(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("prediction", "reference"), [("Yes.", "yes"), ("the liver", "Liver"), ("A", "a."), ("T1-weighted", "t1 weighted")]
)
def test_the_same_answer_counts(prediction, reference):
    assert same_answer(prediction, reference)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [("normal", "no"), ("yes and no", "yes"), ("", "A"), ("...", "..."), ("-5", "5"), ("1.5", "15"), ("a", "the")],
)
def test_another_answer_does_not_count(prediction, reference):
    assert not same_answer(prediction, reference)


def test_answers_are_counted_as_they_are_compared():
    counts = count_answers(["No", "no", "no.", "two", "2", "No", "?"])
    assert counts == {"No": 4, "2": 2, "?": 1}
