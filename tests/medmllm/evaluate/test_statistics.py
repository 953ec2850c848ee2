"""The comparison of two arms finds what is there, and no more."""

import numpy as np
import pytest

from medmllm.evaluate.sign_flips import sign_flip_interval, sign_flip_p
from medmllm.evaluate.statistics import Effects, by_person, compare, holm

NOTHING = np.zeros


def arms(generator, seeds, examples, *, gain=0.0, seed_spread=0.0, example_spread=0.0):
    """Right and wrong answers of two arms to questions of different difficulty."""
    difficulty = 0.2 + 0.5 * generator.beta(0.8, 0.8, examples)  # far enough from 0 and 1 for a gain to fit
    taste = generator.normal(0, example_spread, examples) if example_spread else 0.0

    def answers(shift):
        chance = difficulty + shift + generator.normal(0, seed_spread, (seeds, 1))
        return (generator.random((seeds, examples)) < np.clip(chance, 0.01, 0.99)).astype(float)

    return answers(gain + taste), answers(0.0)


@pytest.mark.parametrize(
    ("seeds", "examples", "spreads"),
    [
        (5, 200, {}),
        (5, 200, {"seed_spread": 0.03}),
        (5, 600, {"seed_spread": 0.03}),
        (10, 200, {"seed_spread": 0.03, "example_spread": 0.15}),
        (3, 200, {"seed_spread": 0.03}),
    ],
)
def test_arms_without_a_difference_are_told_apart_one_time_in_twenty(seeds, examples, spreads):
    generator = np.random.default_rng(7)
    found = [compare(*arms(generator, seeds, examples, **spreads), draws=600, seed=k) for k in range(200)]
    assert 0.02 <= np.mean([c.p < 0.05 for c in found]) <= 0.09
    assert 0.91 <= np.mean([c.low <= 0 <= c.high for c in found]) <= 0.99


def test_a_gain_of_ten_points_is_found():
    generator = np.random.default_rng(3)
    found = [compare(*arms(generator, 5, 400, gain=0.1), draws=600, seed=k) for k in range(50)]
    assert np.mean([c.p < 0.05 for c in found]) >= 0.95
    assert np.mean([c.low <= c.difference <= c.high for c in found]) == 1
    assert np.mean([c.difference for c in found]) == pytest.approx(0.1, abs=0.01)


def test_the_smallest_visible_difference_is_found_four_times_in_five():
    generator = np.random.default_rng(5)
    visible = np.mean([compare(*arms(generator, 5, 300), draws=400, seed=k).visible for k in range(50)])
    gained = [compare(*arms(generator, 5, 300, gain=visible), draws=400, seed=k).p < 0.05 for k in range(100)]
    assert 0.65 <= np.mean(gained) <= 0.95


# Examples a person: the films of the embedded test split, and these with its four volumes.
FILMS = [3] * 168 + [2] * 113 + [5] * 22 + [1] * 19 + [4] * 13
EVERYONE = [*FILMS, 86, 291, 367, 407]


def arms_of_people(generator, seeds, sizes, *, gain=0.0, person_spread=0.0, other_spread=0.05):
    """Answers of two arms about people, some of whom have many questions, whom an arm may suit or not."""
    people = np.repeat(np.arange(len(sizes)), sizes)
    difficulty = 0.2 + 0.5 * generator.beta(0.8, 0.8, len(people))
    taste = generator.normal(0, person_spread, len(sizes))[people]

    def answers(shift):
        by_chance = generator.normal(0, other_spread, (seeds, len(sizes)))[:, people]
        chance = difficulty + shift + by_chance + generator.normal(0, 0.03, (seeds, 1))
        return (generator.random((seeds, len(people))) < np.clip(chance, 0.01, 0.99)).astype(float)

    return answers(gain + taste), answers(0.0), people.astype(str)


@pytest.mark.parametrize(
    ("sizes", "person_spread"), [(FILMS, 0.0), (FILMS, 0.15), (EVERYONE, 0.0), (EVERYONE, 0.05), ([5] * 60, 0.15)]
)
def test_unequal_people_are_no_reason_to_find_what_is_not_there(sizes, person_spread):
    generator = np.random.default_rng(1)
    tables = [arms_of_people(generator, 5, sizes, person_spread=person_spread) for _ in range(200)]
    found = [compare(*table, draws=400, seed=k) for k, table in enumerate(tables)]
    assert 0.02 <= np.mean([c.p < 0.05 for c in found]) <= 0.09
    assert 0.91 <= np.mean([c.low <= 0 <= c.high for c in found]) <= 0.99
    assert (found[0].people, found[0].examples) == (len(sizes), sum(sizes))


def test_a_gain_of_ten_points_is_found_among_people():
    generator = np.random.default_rng(4)
    found = [compare(*arms_of_people(generator, 5, FILMS, gain=0.1), draws=400, seed=k) for k in range(50)]
    assert np.mean([c.p < 0.05 for c in found]) >= 0.9
    assert np.mean([c.difference for c in found]) == pytest.approx(0.1, abs=0.01)


def test_drawing_examples_of_people_whom_an_arm_suits_claims_too_much():
    """Why people are drawn: with questions drawn one by one, nothing is found far too often."""
    generator = np.random.default_rng(2)
    tables = [arms_of_people(generator, 5, [40] * 10, person_spread=0.15) for _ in range(100)]
    by_question = np.mean([compare(first, second, draws=300).p < 0.05 for first, second, _ in tables])
    by_person = np.mean([compare(*table, draws=300).p < 0.05 for table in tables])
    assert by_question > 0.2
    assert by_person <= 0.1


def test_one_example_a_person_is_as_good_as_no_people():
    first, second = arms(np.random.default_rng(6), 4, 100, gain=0.05)
    alone = compare(first, second, people=[f"{i:03}" for i in range(100)])
    together = compare(first, second)
    assert (alone.low, alone.high, alone.p) == pytest.approx((together.low, together.high, together.p))


def test_a_table_of_people_keeps_the_mean():
    table = np.random.default_rng(0).random((3, 6))
    by, effective = by_person(table, ["a", "a", "a", "b", "c", "c"])
    assert by.mean(1) == pytest.approx(table.mean(1))
    assert effective == pytest.approx(36 / 14)
    assert by[0, 1] == pytest.approx(table.mean() + 3 / 6 * (table[0, 3] - table.mean()))


def test_seeds_that_disagree_widen_the_interval():
    differences = np.tile([[0.2], [-0.1], [0.15], [-0.05]], (1, 500))
    same = compare(differences, NOTHING((4, 500)))
    assert same.low < 0 < same.high
    assert same.p > 0.3


def test_an_interval_ends_where_nothing_more_is_possible():
    differences = np.tile([[0.4], [-0.1]], (1, 500))
    free = compare(differences, NOTHING((2, 500)))
    assert free.high > 1
    assert not free.capped
    found = compare(differences, NOTHING((2, 500)), largest=1.0)
    assert (found.low, found.high, found.capped) == (-1, 1, True)
    assert (found.p, found.visible) == (free.p, free.visible)


def test_five_people_cannot_be_surer_than_their_number_allows():
    """Fourteen questions of five people, half of them lost: 2 of the 32 choices of signs reach that."""
    people = ["a"] * 4 + ["b"] * 4 + ["c"] * 2 + ["d"] * 2 + ["e"] * 2
    table = np.tile([[1.0, 0.0]], (1, 7))
    found = compare(table, NOTHING((1, 14)), people, largest=1.0)
    assert found.difference == 0.5
    assert found.p == 2 / 2**5
    assert (found.low, found.high, found.few, found.capped) == (-1, 1, True, True)
    totals, counts = np.array([2.0, 2, 1, 1, 1]), np.array([4.0, 4, 2, 2, 2])
    assert sign_flip_p(totals) == 2 / 2**5
    assert sign_flip_interval(totals, counts) == (-np.inf, np.inf)


@pytest.mark.parametrize("count", [6, 8, 12])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_few_people_have_at_least_the_p_and_the_interval_of_sign_flips(count, seeds):
    shares = np.linspace(0.1, 0.9, count)
    people = [f"p{i // 3:02}" for i in range(3 * count)]
    found = compare(np.tile(np.repeat(shares, 3), (seeds, 1)), NOTHING((seeds, 3 * count)), people, largest=1.0)
    assert found.p >= 2 / 2**count
    assert not found.few
    if count == 6:
        assert found.p == pytest.approx(2 / 64)
        assert found.low < 0.1001  # the smallest and the largest mean of any set of people
        assert found.high > 0.8999


def test_the_interval_of_sign_flips_holds_what_the_test_does_not_reject():
    generator = np.random.default_rng(5)
    totals, counts = generator.normal(0.5, 1, 8), generator.integers(1, 9, 8).astype(float)
    low, high = sign_flip_interval(totals, counts)
    step = 1e-6 * (high - low)
    for end, inside in ((low, step), (high, -step)):
        assert sign_flip_p(totals - (end + inside) * counts) > 0.05
        assert sign_flip_p(totals - (end - inside) * counts) <= 0.05


def test_eight_people_without_a_difference_are_told_apart_one_time_in_twenty_at_most():
    generator = np.random.default_rng(3)
    found = [compare(generator.normal(0, 1, (1, 8)) ** 3, NOTHING((1, 8)), draws=200, seed=k) for k in range(300)]
    assert np.mean([c.p < 0.05 for c in found]) <= 0.07
    assert np.mean([c.low <= 0 <= c.high for c in found]) >= 0.93


def test_one_seed_counts_examples_only():
    generator = np.random.default_rng(0)
    found = [compare(*arms(generator, 1, 300), draws=600, seed=k) for k in range(200)]
    assert 0.02 <= np.mean([c.p < 0.05 for c in found]) <= 0.09
    assert found[0].seeds == 1


def test_equal_arms_differ_by_nothing():
    scores = (np.random.default_rng(0).random((3, 50)) < 0.5).astype(float)
    found = compare(scores, scores)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    told = found.to_dict()
    assert found.equal
    assert [told[key] for key in ("low", "high", "p", "visible")] == [None] * 4
    scores[0, :2] = scores[0, 1::-1]
    other = scores.copy()
    other[0, 0] = 1 - other[0, 0]
    assert not compare(scores, other).equal
    assert compare(scores, other).to_dict()["visible"] > 0


def test_what_cancels_within_every_person_is_equal_too():
    first, second = np.tile([1.0, 0.0], (2, 6)), np.tile([0.0, 1.0], (2, 6))
    assert compare(first, second, [f"p{i // 2}" for i in range(12)]).equal
    assert not compare(first, second).equal


def test_a_comparison_is_antisymmetric_and_repeatable():
    first, second = arms(np.random.default_rng(1), 4, 100, gain=0.05)
    there, back = compare(first, second), compare(second, first)
    assert there == compare(first, second)
    assert back.difference == -there.difference
    assert back.p == pytest.approx(there.p, abs=0.03)


def test_variances_are_those_that_were_planted():
    generator = np.random.default_rng(2)
    found = [
        Effects.of(generator.normal(0, 0.3, (6, 1)) + generator.normal(0, 0.5, 80) + generator.normal(0, 1, (6, 80)))
        for _ in range(300)
    ]
    assert np.mean([e.seed_variance for e in found]) == pytest.approx(0.09, rel=0.15)
    assert np.mean([e.example_variance for e in found]) == pytest.approx(0.25, rel=0.1)
    assert np.mean([e.rest_variance for e in found]) == pytest.approx(1.0, rel=0.05)


def test_holm_raises_in_steps():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_person_is_refused():
    with pytest.raises(ValueError, match="two people or more"):
        compare(NOTHING((2, 3)), NOTHING((2, 3)), people=["a", "a", "a"])


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (NOTHING((2, 5)), NOTHING((2, 6)), "one shape"),
        (NOTHING(5), NOTHING(5), "seeds, examples"),
        (np.full((2, 5), np.nan), NOTHING((2, 5)), "not finite"),
    ],
)
def test_tables_that_cannot_be_paired_are_refused(first, second, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(first, second)
