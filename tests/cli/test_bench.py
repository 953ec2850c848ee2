"""`exgra bench`: every part runs, says what it measured, and its tables say what the document says."""

import json
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import torch

from graphalign.bench import peers
from graphalign.bench.growth import exponent
from graphalign.bench.machine import one_thread
from graphalign.bench.tables import markdown, tables
from graphalign.bench.timing import Timing, race


def test_contenders_take_turns_and_the_best_round_counts():
    calls = []

    def slow():
        calls.append("slow")
        until = time.process_time() + 0.004
        while time.process_time() < until:
            pass

    timings = race({"slow": slow, "fast": lambda: calls.append("fast")}, budget=0.0)
    assert calls == ["slow", "fast"] * (len(calls) // 2)
    assert timings["slow"].rounds == timings["fast"].rounds == 3
    assert timings["slow"].ms >= 4 > timings["fast"].ms


def test_a_law_of_growth_is_found_again():
    reached = [(n, Timing(None, ms=1e-5 * n**2.5)) for n in (16, 32, 64, 128, 256)]
    found = exponent(reached)
    assert found["exponent"] == pytest.approx(2.5)
    assert (found["from"], found["to"]) == (64, 256)
    assert exponent(reached[:1]) == {"exponent": None}


def test_libraries_agree_on_assignments_and_plans():
    scores = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    wanted = peers.scipy(scores).tolist()
    assert peers.lapx(scores, "lapjvr").tolist() == peers.lapx(scores, "lapjvh").tolist() == wanted
    assert peers.pygmtools_hungarian(scores).argmax(-1).tolist() == wanted
    plan = peers.plain_sinkhorn(scores, 0.1, 30)
    torch.testing.assert_close(peers.pygmtools_sinkhorn(scores, 0.1, 30), plan, atol=1e-4, rtol=1e-3)
    pytest.importorskip("ot")
    torch.testing.assert_close(peers.pot_sinkhorn(scores, 0.1, 30), plan, atol=1e-4, rtol=1e-3)


def test_a_missing_library_is_told_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "ot" else object())
    assert list(peers.missing(["scipy", "POT fused GW", "plain torch"])) == ["POT fused GW"]


def test_an_absent_row_is_a_dash_with_its_reason():
    rows = [
        {"part": "sinkhorn forward", "case": "4x8", "contender": "implicit", "ms": 2.0, "difference": 0.0},
        {"part": "sinkhorn forward", "case": "4x8", "contender": "POT", "absent": "POT is not installed"},
        {"part": "sinkhorn forward", "case": "4x8", "contender": "plain torch", "ms": 5.0, "difference": 0.0},
    ]
    times, ratios = tables({"rows": rows})
    assert times.body == [("4x8", "2", "-", "5")]
    assert "POT is not installed" in times.note
    assert ratios.body == [("4x8", "-", "2.5x")]


def test_what_was_learnt_is_a_line_with_its_range_over_seeds():
    row = {"part": "learning", "contender": "imle", "nodes": 16, "accuracy": 0.8, "centres": -0.25, "ms": 3.14159}
    rows = [row | {"steps": 60, "matched": [0.25, 0.75]}, row | {"steps": 300, "matched": [1.0, 1.0]}]
    (table,) = tables({"rows": rows})
    assert table.body == [("imle", "0.50 (0.25 to 0.75)", "1.00", "0.80", "-", "-0.25", "3.14")]


def test_the_measuring_process_has_one_thread():
    code = (
        "import torch, threadpoolctl; "
        "print(torch.get_num_threads(), *{p['num_threads'] for p in threadpoolctl.threadpool_info()})"
    )
    pytest.importorskip("threadpoolctl")
    done = subprocess.run([sys.executable, "-c", code], env=one_thread(), capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"1"}


def test_a_quick_run_leaves_a_document_and_its_tables(exgra, tmp_path):
    parts = ["--only", "linear", "--only", "quadratic"]
    result = exgra("bench", "solvers", "--quick", *parts, "--out", "r/solvers.json", "--json")
    assert result.code == 0
    document = json.loads((tmp_path / "r" / "solvers.json").read_text())
    assert result.json == document
    assert (document["schema"], document["kind"], document["quick"]) == (1, "solvers", True)
    assert document["machine"]["threads"] == 1
    assert document["versions"]["torch"] == version("torch")
    linear = {"lap", "hungarian", "greedy", "lapx lapjvr", "lapx lapjvh", "scipy", "pygmtools"}
    quadratic = {"faq", "pygmtools rrwm", "pygmtools ipfp", "pygmtools sm", "POT fused GW"}
    assert linear | quadratic <= {row["contender"] for row in document["rows"]}
    assert all(row["ms"] > 0 for row in document["rows"] if "ms" in row)
    assert (tmp_path / "r" / "solvers.md").read_text() == f"# Solvers\n\n{markdown(document)}"


def test_exact_solvers_reach_one_objective():
    from graphalign.bench.linear import measure_linear
    from graphalign.bench.rows import Plan

    rows = [row.to_dict() for row in measure_linear(Plan(quick=True, seed=3, say=lambda text: None))]
    exact = [row for row in rows if row["contender"] not in ("greedy", "auction") and "absent" not in row]
    assert {"lap", "hungarian", "lapx lapjvr", "scipy"} <= {row["contender"] for row in exact}
    assert min(row["objective_share"] for row in exact) > 1 - 1e-6


def test_memory_is_measured_in_a_process_of_its_own():
    from graphalign.bench.memory import peak_mb

    small, large = (peak_mb("sinkhorn", "plain torch", 4, 128, rounds) for rounds in (10, 40))
    assert large > 2 * small > 5  # unrolled: every round keeps its matrices


def test_gradients_are_compared_with_exact_ones(exgra):
    result = exgra("bench", "gradients", "--quick", "--json")
    rows = {row["contender"]: row for row in result.json["rows"]}
    assert rows["implicit"]["cosine"] == pytest.approx(1, abs=1e-3)
    assert rows["detached"]["bias"] == 1.0
    assert (rows["blackbox"]["solves"], rows["imle(lam=1, samples=10)"]["solves"]) == (2, 20)


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--only", "linaer"], "known are linear"), (["--out", "r.txt"], ".json")],
)
def test_wrong_options_are_told_before_anything_is_measured(exgra, options, word):
    result = exgra("bench", "solvers", *options)
    assert result.code == 2
    assert word in result.err
