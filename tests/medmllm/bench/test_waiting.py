"""Time spent waiting for data is counted, and is what the loader takes."""

import time

import pytest

from medmllm.bench.waiting import waiting
from medmllm.data.batches import Reader
from medmllm.errors import ConfigError


def test_a_slow_reader_shows(tiny, monkeypatch):
    quick = waiting(tiny(), 2)
    pack, pause = Reader.pack, 5 * quick["seconds"]
    monkeypatch.setattr(Reader, "pack", lambda *given, **more: time.sleep(pause) or pack(*given, **more))
    slow = waiting(tiny(), 2)
    assert quick["workers"] == slow["workers"] == 0
    assert 0 <= quick["waiting"] < 1
    assert 0.5 < slow["waiting"] < 1
    assert slow["seconds"] * slow["waiting"] > pause / 2  # not all: a batch is read while the one before it is learnt


@pytest.mark.parametrize("aligns", [True, False])
def test_the_last_stage_is_what_runs(tiny, aligns):
    first = {"name": "first", "share": 9, "trains": ["projector"], "align": not aligns}
    last = {"name": "last", "share": 1, "trains": ["language"], "align": aligns}
    assert waiting(tiny(train={"stages": [first, last]}), 1)["seconds"] > 0


def test_shards_need_no_launcher(tiny):
    assert waiting(tiny(engine={"strategy": "fsdp"}), 1)["seconds"] > 0


def test_what_could_not_be_trained_is_refused(tiny):
    with pytest.raises(ConfigError, match="cannot be pooled"):
        waiting(tiny(align={"layer": 9}), 1)
