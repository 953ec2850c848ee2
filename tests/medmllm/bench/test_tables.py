"""The measured step as a table: every variant, and ratios only where their bases were measured."""

import pytest
import torch

from medmllm.bench import tables
from medmllm.bench.step import Setup, measure_steps


@pytest.mark.parametrize("variants", [("plain_padded", "packed_lm"), ("packed_lm", "packed_aligned")])
def test_rows_and_ratios(variants):
    document = measure_steps(Setup("tiny", batch=2, steps=1, warmup=0, variants=variants), torch.device("cpu"))
    assert document["packed_from_padded"] < 1e-4
    text = tables.markdown(document)
    assert all(f"| {name} |" in text for name in variants)
    assert ("time over" in text) == ("plain_padded" in variants)
    assert "2 samples; median of 1 step." in tables.about(document)


def test_placement_has_a_row_for_each_solver():
    rows = [
        {"solver": name, "samples": n, "seconds": n * factor, "solver_seconds": 0.001}
        for n in (16, 64)
        for name, factor in (("lap", 0.001), ("auction", 0.01))
    ]
    text = tables.placement({"device": "d", "torch": "t", "width": 8, "rows": rows})
    assert "| lap | 16.0 | 1.0 | 64.0 | 1.0 |" in text
    assert "| auction | 160.0 | 1.0 | 640.0 | 1.0 |" in text
