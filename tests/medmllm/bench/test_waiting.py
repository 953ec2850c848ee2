"""Time spent waiting for data is counted, and is what the loader takes."""

import time

from medmllm.bench.waiting import waiting
from medmllm.data.batches import Reader


def test_a_slow_reader_shows(tiny, monkeypatch):
    quick = waiting(tiny(), 2)
    pack = Reader.pack
    monkeypatch.setattr(Reader, "pack", lambda *given, **more: time.sleep(0.3) or pack(*given, **more))
    slow = waiting(tiny(), 2)
    assert quick["workers"] == slow["workers"] == 0
    assert 0 <= quick["waiting"] < slow["waiting"] < 1
    assert slow["seconds"] * slow["waiting"] > 0.3
