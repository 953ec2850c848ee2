"""The published metrics to the last digit, against a second reading of their definition and against known traps."""

import random
import re

import pytest

from medmllm.evaluate import published

WORDS = ["a", "an", "The", "no", "Yes", "none", "ONE", "ten", "left", "lung", "dont", "isn't", "normal", "Straße", "ct"]
SIGNS = [
    *published.PUNCTUATION,
    ".",
    "..",
    "'",
    "2,000",
    "1.5",
    ".5",
    "5.",
    "3,",
    "\xa0",
    "\t",
    "é",
    "²",
    "٣,٣",
    "\u2028",
]
# Contractions of the definition that the made texts can hit.
REPAIRED = {"dont": "don't", "isnt": "isn't"}


def plain(text):
    """The definition once more, sign by sign and word by word."""
    text = text.lower()
    out = text
    for sign in ';/[]"{}()=+\\_-><@`,?!':
        touching = sign + " " in text or " " + sign in text
        out = out.replace(sign, "" if touching or re.search(r"\d,\d", text) else " ")
    kept = [c for i, c in enumerate(out) if c != "." or (i + 1 < len(out) and re.match(r"\d", out[i + 1]))]
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    numbers = {"none": "0", **{word: str(digits.index(word)) for word in digits}}
    words = [numbers.get(word, word) for word in "".join(kept).split()]
    return [REPAIRED.get(word, word) for word in words if word not in ("a", "an", "the")]


def scores(said, true):
    """Recall, precision, F1 and "exact match" by loops over words."""
    said, true = plain(said), plain(true)
    tp = fp = fn = 0
    for word in set(said) | set(true):
        if word in said and word in true:
            tp += said.count(word)
        elif word in said:
            fp += said.count(word)
        else:
            fn += true.count(word)
    match = len(set(true) & set(said)) / len(said) if said else 0
    if not tp:
        return 0, 0, 0, match
    recall, precision = tp / (tp + fn), tp / (tp + fp)
    return recall, precision, 2 * precision * recall / (precision + recall), match


def made(generator, most):
    pieces = [
        generator.choice(WORDS + SIGNS) + generator.choice(["", "", " "]) for _ in range(generator.randint(0, most))
    ]
    return "".join(pieces)


def test_adversarial_texts_score_as_defined():
    generator = random.Random(0)
    for _ in range(4_000):
        said, true = made(generator, 9), made(generator, 6)
        assert published.normalise(said).split() == plain(said), repr(said)
        found = (*published.word_scores(said, true), published.exact_match(said, true))
        assert found == scores(said, true), (said, true)
        assert published.closed_hit(said, true) == float(" ".join(plain(true)) in " ".join(plain(said)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A.", ""),
        ("T1-weighted", "t1 weighted"),
        ("T1-weighted -", "t1weighted"),  # one hyphen at a space deletes them all
        ("x-ray, 2,000", "xray 2000"),  # so does a comma between digits
        ("1.5 mm.", "1.5 mm"),
        (".5 and 5.", ".5 and 5"),
        ("Two of three, none of ten!", "2 of 3 0 of 10"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("a/an", ""),
        ("pleural;effusion", "pleural effusion"),
        ("." * 40 + "x", "x"),
        ("", ""),
    ],
)
def test_normal_form(text, expected):
    assert published.normalise(text) == expected


def test_every_contraction_misses_one_apostrophe():
    assert len(published._REPAIRS) == 114
    odd = {
        wrong: right for wrong, right in published._REPAIRS.items() if right.replace("'", "") != wrong.replace("'", "")
    }
    assert odd == {}
    assert published._REPAIRS["somebody'd"] == "somebodyd"  # the one that loses its apostrophe


@pytest.mark.parametrize(
    ("said", "true", "hit"),
    [
        ("normal", "no", 1),
        ("active", "CT", 1),
        ("yes and no", "yes", 1),
        ("yes and no", "no", 1),
        ("", "yes", 0),
        ("x", "a", 1),
    ],
)
def test_closed_questions_are_hit_by_substrings(said, true, hit):
    assert published.closed_hit(said, true) == hit


def test_a_repeated_word_raises_recall():
    assert published.word_scores("lung", "left lung").recall == 1 / 2
    assert published.word_scores("lung lung lung", "left lung").recall == 3 / 4


def test_an_answer_without_words_scores_nothing():
    assert published.word_scores("the", "left lung") == (0, 0, 0)
    assert published.word_scores("left", "the") == (0, 0, 0)
    assert published.exact_match("", "") == 0


def test_open_accuracy_takes_the_nearest_candidate_and_the_first_of_equals():
    candidates = ["left lung", "right lung", "lung"]
    assert published.nearest_candidate("the lung on the right", candidates) == "right lung"
    assert published.nearest_candidate("lung", candidates) == "lung"
    assert published.nearest_candidate("liver", candidates) == "left lung"
    assert published.open_accuracy("liver", "Left lung.", candidates) == 1
    with pytest.raises(ValueError, match="candidate"):
        published.nearest_candidate("liver", [])


def test_pathvqa_drops_wrong_answers_of_yes_and_no():
    said, true = ["no", "yes", "normal", "pale"], ["yes"] * 4
    assert published.pathvqa_closed(said, true) == 1 / 2  # "no" and "normal" are not counted
    assert published.pathvqa_closed(["no"], ["yes"]) is None


def test_options_are_chosen_by_the_ratio_with_the_option_first():
    assert published.nearest_option("CT", ["MRI", "CT", "X-ray"]) == 1
    assert published.nearest_option("ct", ["MRI", "CT", "X-ray"]) == 0  # case counts; nothing in common: the first
    with pytest.raises(ValueError, match="option"):
        published.nearest_option("CT", [])
