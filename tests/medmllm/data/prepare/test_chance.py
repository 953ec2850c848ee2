from medmllm.data.prepare.chance import fraction, pick, shuffled


def test_fraction_depends_on_the_key_alone():
    assert fraction("a", 1) == fraction("a", 1) != fraction("a", 2)
    assert abs(sum(fraction("mean", i) for i in range(2000)) / 2000 - 0.5) < 0.03


def test_fraction_is_pinned():
    """Another value would mean other splits, and a different data set."""
    assert fraction("film-im-0001", "split") == 0.3088592454645358


def test_shuffled_keeps_all_items():
    items = list("aabbccdd")
    mixed = shuffled(items, "key")
    assert sorted(mixed) == items
    assert mixed != items
    assert mixed != shuffled(items, "other key")


def test_pick_reaches_every_option():
    assert {pick("xyz", number) for number in range(50)} == set("xyz")
