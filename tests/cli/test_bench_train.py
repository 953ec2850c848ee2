"""`exgra bench train` and `exgra bench loader`: their output is the measurement, and bad words are reported."""

import json

import pytest

STEP = ("bench", "train", "--size", "tiny", "--batch", "2", "--steps", "1", "--warmup", "0", "--device", "cpu")


def test_a_step_is_told_as_a_table_and_kept_as_a_document(exgra, tmp_path):
    out = tmp_path / "new" / "step.json"
    told = exgra(*STEP, "--only", "packed_lm", "--only", "plain_padded", "--out", out)
    assert told.code == 0, told.err
    document = json.loads(out.read_text())
    assert [row["variant"] for row in document["rows"]] == ["plain_padded", "packed_lm"]
    ratio = document["ratios"]["packed_lm / plain_padded"]
    assert f"{ratio:.2f}" in told.out
    assert "tiny" in told.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--solver", "lapp"], "Did you mean 'lap'"),
        (["--solver", "brute_force", "--batch", "12"], "at most 8 nodes"),
        (["--device", "gpu"], "device"),
        (["--size", "8b"], "--size"),
        (["--only", "fast"], "--only"),
        (["--peak", "-1"], "--peak"),
    ],
)
def test_what_cannot_be_measured_is_refused_first(exgra, words, told):
    refused = exgra(*STEP, *words)
    assert refused.code == 2
    assert told in refused.err


def test_waiting_is_measured_for_every_number_of_workers(exgra, tiny):
    told = exgra("bench", "loader", tiny, "--steps", "1", "--workers", "0", "--workers", "1", "--json")
    assert told.code == 0, told.err
    assert [run["workers"] for run in told.json["runs"]] == [0, 1]
    assert all(0 <= run["waiting"] <= 1 and run["seconds"] > 0 for run in told.json["runs"])
    assert exgra("bench", "loader", tiny, "align.layer=9", "--steps", "1").code == 2
