"""Shares: nested, in proportion, and the same everywhere."""

import hashlib
import random
from collections import Counter
from itertools import pairwise

import pytest

from medmllm.data.subset import fair_order, share, stratified

SIZES = [{"a": 1}, {"a": 5, "b": 5}, {"a": 1000, **{f"s{n}": 1 for n in range(100)}}, {"a": 7, "b": 3, "c": 2, "d": 1}]
draw = random.Random(1)
SIZES += [{str(n): draw.randrange(1, 60) for n in range(draw.randrange(2, 30))} for _ in range(12)]


@pytest.mark.parametrize("sizes", SIZES)
def test_every_beginning_of_the_order_is_within_one_of_its_part(sizes):
    total, held = sum(sizes.values()), Counter()
    order = fair_order(sizes, "salt")
    assert Counter(order) == Counter(sizes)
    for place, name in enumerate(order, start=1):
        held[name] += 1
        for other, size in sizes.items():
            assert abs(held[other] * total - place * size) < total


ITEMS = [(str(n), "yes" if n % 3 else "no" if n % 2 else "maybe") for n in range(1000)]


def cut(fraction, seed=0, items=ITEMS):
    return stratified(items, fraction, salt=f"s{seed}", key=lambda item: item[0], stratum=lambda item: item[1])


def test_shares_are_nested_and_in_proportion():
    shares = [set(cut(f)) for f in (0.001, 0.01, 0.1, 0.4, 0.9, 1)]
    assert [len(s) for s in shares] == [1, 10, 100, 400, 900, 1000]
    assert all(a < b for a, b in pairwise(shares))
    whole = Counter(stratum for _, stratum in ITEMS)
    for fraction, chosen in zip((0.1, 0.4), shares[2:4], strict=True):
        found = Counter(stratum for _, stratum in chosen)
        assert all(abs(found[name] - fraction * size) < 1 for name, size in whole.items())


def test_the_choice_depends_on_names_and_seed_alone():
    chosen = cut(0.4)
    assert chosen == tuple(sorted(chosen, key=lambda item: int(item[0])))
    assert set(cut(0.4, items=ITEMS[::-1])) == set(chosen)
    assert set(cut(0.4, seed=1)) != set(chosen)
    digest = hashlib.sha256(" ".join(name for name, _ in cut(0.1)).encode()).hexdigest()
    assert digest[:16] == "ec5f4d8302bd805e"  # the same on every machine, and with every version


def test_few_items():
    assert cut(0.5, items=[]) == ()
    assert len(cut(0.001, items=ITEMS[:3])) == 1
    assert share(["a"], 0.1, salt="", key=str) == ("a",)
