"""DeepSpeed shards what the mixin trains, by the configurations that come with the package, and changes no figure."""

import json
from pathlib import Path

import numpy as np
import processes
import pytest

from medmllm.settings.load import dump

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_under_zero_take_the_steps_of_one(tiny, tmp_path, monkeypatch):
    """On CPU processes; needs DeepSpeed, and a compiler, as its first start builds a kernel."""
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    config = tmp_path / "config.yaml"
    config.write_text(dump(tiny()))

    def figures(zero, precision):
        out, count = tmp_path / f"{zero}-{precision}", 1 if zero == "none" else 2
        out.mkdir()
        begun = processes.start(count, HERE / "zero.py", config, out, zero, precision)
        codes, _, errors = processes.finish(begun, timeout=1200)
        assert codes == [0] * count, errors
        return np.array(json.loads((out / "figures.json").read_text()))

    alone = figures("none", "wide")
    assert alone.shape == (4, 2)
    for zero in ("zero2", "zero3"):
        assert figures(zero, "wide") == pytest.approx(alone, rel=1e-5)
        assert figures(zero, "half") == pytest.approx(alone, rel=1e-2)
