"""Figures of small lists of answers whose values are known, and comparisons of systems that are or are not better."""

import random

import pytest

from medmllm.errors import DataError
from medmllm.evaluate.compare import compare_systems
from medmllm.evaluate.items import Item
from medmllm.evaluate.report import score_items, score_report

OPEN = [("left lung", "left upper lobe"), ("lobe lobe", "left upper lobe"), ("liver", "liver")]
CLOSED = [("normal", "no"), ("yes", "yes"), ("", "no"), ("no", "yes")]


def items(pairs, closed, **more):
    kind = "closed" if closed else "open"
    fields = {"kind": kind, "closed": closed, **more}
    return [Item(f"{kind}{i}", "?", true, said, cluster=f"i{i}", **fields) for i, (said, true) in enumerate(pairs)]


@pytest.fixture
def told():
    return score_report(score_items(items(OPEN, False, modality="CT") + items(CLOSED, True, modality="MR")))


def test_published_figures(told):
    found = told["published"]
    assert found["open_recall"] == sum([1 / 3, 2 / 4, 1.0]) / 3 * 100
    assert found["closed_accuracy"] == 50.0
    assert found["average"] == (found["open_recall"] + 50.0) / 2
    assert found["exact_match"] == sum([1 / 2, 1 / 2, 1.0]) / 3 * 100
    assert (found["n_open"], found["n_closed"]) == (3, 4)


def test_strict_figures(told):
    found = told["strict"]
    assert found["open_recall"] == sum([1 / 3, 1 / 3, 1.0]) / 3 * 100
    assert found["closed_accuracy"] == 25.0  # "normal" is not "no", and the empty answer stays in the denominator
    assert found["exact_match"] == 1 / 3 * 100
    assert found["exact_match_all"] == 2 / 7 * 100
    assert (found["n_open"], found["n_closed"]) == (3, 4)


def test_a_wrong_answer_to_pathvqa_stays_in_the_denominator(told):
    assert told["published"]["closed_accuracy_pathvqa"] == pytest.approx(
        200 / 3
    )  # by its own script "no" is not counted
    assert told["published"]["closed_accuracy"] == 50.0


def test_kinds_and_modalities_have_both_columns(told):
    assert set(told["by_kind"]) == {"open", "closed"}
    assert told["by_modality"]["MR"]["strict"]["closed_accuracy"] == 25.0
    assert told["by_modality"]["CT"]["published"]["closed_accuracy"] is None
    assert told["by_modality"]["CT"]["published"]["average"] is None
    assert told["by_modality"]["CT"]["intervals"]["strict"]["average"] is None


def test_refusals_are_calibrated():
    answers = [("yes", "yes"), ("", "no"), ("I cannot tell", "no"), ("no", "yes")]
    found = score_report(score_items(items(answers, True)))["refusals"]
    assert found == {"refused": 2, "empty": 1, "coverage": 50.0, "accuracy": 25.0, "accuracy_answered": 50.0}


def test_intervals_hold_the_figure_and_widen_with_clusters():
    answers = [("yes" if i % 3 else "no", "yes") for i in range(300)]
    alone = score_report(score_items(items(answers, True)))
    low, high = alone["intervals"]["strict"]["closed_accuracy"]
    assert low < alone["strict"]["closed_accuracy"] < high
    blocks = [Item(str(i), "?", "yes", "yes" if i < 200 else "no", True, cluster=f"c{i // 50}") for i in range(300)]
    wide = score_report(score_items(blocks))["intervals"]["strict"]["closed_accuracy"]
    assert wide[1] - wide[0] > 3 * (high - low)


def test_answers_about_one_image_say_nothing_about_others():
    one = [Item(str(i), "?", "yes", "yes", True, cluster="one") for i in range(9)]
    assert score_report(score_items(one))["intervals"]["strict"]["closed_accuracy"] == [0.0, 100.0]


def test_open_accuracy_needs_candidates():
    scored = score_items(items(OPEN, False), ["left upper lobe", "liver"])
    assert score_report(scored)["published"]["open_accuracy"] == 100.0
    assert score_report(score_items(items(OPEN, False)))["published"]["open_accuracy"] is None


def systems(better, seed=0):
    generator = random.Random(seed)
    truth = ["yes"] * 300
    said = [["yes" if generator.random() < chance else "no" for _ in truth] for chance in (0.5 + better, 0.5)]
    return [score_items(items(list(zip(answers, truth, strict=True)), True)) for answers in said]


def test_a_better_system_is_found_and_an_equal_one_is_not():
    found = compare_systems(*systems(0.3))["strict"]["closed_accuracy"]
    assert found["difference"] == pytest.approx(30, abs=8)
    assert found["low"] < found["difference"] < found["high"]
    assert found["p"] <= found["p_holm"] < 0.01
    assert found["examples"] == 300
    assert compare_systems(*systems(0.0))["strict"]["closed_accuracy"]["p"] > 0.05


def test_equal_answers_say_nothing_of_how_sure_that_is():
    one, _ = systems(0.3)
    found = compare_systems(one, one)["strict"]["closed_accuracy"]
    assert found["equal"]
    assert found["difference"] == 0
    assert [found[key] for key in ("low", "high", "p", "p_holm", "visible")] == [None] * 5


def test_the_difference_is_that_of_the_figures_with_clusters_of_unequal_size():
    generator = random.Random(1)
    asked = [("yes", True, f"c{i * i % 11}") if i % 3 else ("left lung", False, f"c{i % 5}") for i in range(90)]

    def answered():
        said = [generator.choice(["yes", "no", "left"]) for _ in asked]
        rows = enumerate(zip(asked, said, strict=True))
        return [Item(str(i), "?", true, text, closed, cluster=name) for i, ((true, closed, name), text) in rows]

    mixed = [answered(), answered()]
    first, second = (score_items(side) for side in mixed)
    found, (one, other) = compare_systems(first, second[::-1]), (score_report(first), score_report(second))
    for column in ("published", "strict"):
        for name in ("open_recall", "closed_accuracy", "average", "f1"):
            assert found[column][name]["difference"] == pytest.approx(one[column][name] - other[column][name])
    assert found["published"]["open_accuracy"] is None


def test_other_questions_cannot_be_compared():
    first, second = systems(0.1)
    with pytest.raises(DataError, match="not asked the same"):
        compare_systems(first, second[1:])
