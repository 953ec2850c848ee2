"""The programs in `benchmarks/` measure what they say."""

import csv
import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def learning(monkeypatch):
    spec = importlib.util.spec_from_file_location("learning", PROGRAMS / "learning.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STEPS", (60,))
    monkeypatch.setattr(module, "DRAWS", 2)
    return module


def test_an_estimator_learns_and_the_control_does_not(learning):
    found = {
        spec: learning.trained(learning.Contender(spec), 16, 0)[-1] for spec in ("imle", "infonce", "detached", "ridge")
    }
    assert found["imle"]["matched"] > 0.9
    assert found["infonce"]["matched"] > 0.9
    assert found["ridge"]["matched"] > 0.9
    assert found["detached"]["matched"] < 0.2
    assert 0 < found["imle"]["agreement"] <= 1
    assert found["detached"]["agreement"] is None


def test_a_row_has_each_seed_and_means_of_what_there_is(learning):
    seeds = [{"steps": 60, "matched": share, "accuracy": share, "centres": 1.0, "ms": 2.0} for share in (0.25, 0.75)]
    found = learning.row(learning.Contender("detached"), 16, [seed | {"agreement": None} for seed in seeds])
    assert found["matched"] == [0.25, 0.75]
    assert found["accuracy"] == 0.5
    assert "agreement" not in found


def test_every_registered_estimator_takes_part(learning):
    from graphalign import components

    assert set(components("estimator")) <= {contender.spec for contender in learning.PLAIN}


def test_tables_of_steps_name_every_contender_and_scene():
    trainers, scenes = (runpy.run_path(str(PROGRAMS / name)) for name in ("trainers.py", "side_by_side.py"))
    row = {"cpu_seconds": 0.5, "ratio": 1.25}
    names = [*trainers["CONTENDERS"]]
    lines = trainers["table"](
        {"versions": {"torch": "2"}, "rows": {k: dict.fromkeys(names, row) for k in ("short", "long")}}
    )
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines.splitlines()[4:]] == names
    found = [{"scene": scene, "older_seconds": 3.0, "seconds": 1.0, "ratio": 1 / 3} for scene in scenes["SCENES"]]
    assert scenes["table"]({"scenes": found}).count("| 3.00 | 1.00 | 0.33 |") == len(scenes["SCENES"]) == 3


def test_both_arms_ask_the_same_and_the_table_has_each_kind_of_both_splits(tmp_path):
    from medmllm.data.config import DataConfig
    from medmllm.data.sources import open_source

    program = runpy.run_path(str(PROGRAMS / "several_slices.py"))
    whole = open_source(DataConfig(source="embedded-slices"))

    class Few:
        """Of each split the first rows."""

        splits, content = whole.splits, whole.content

        def records(self, split):
            return whole.records(split)[:60]

    program["write_arms"](Few(), tmp_path)
    both = [
        [json.loads(line) for line in (tmp_path / arm / "test.jsonl").read_text().splitlines()]
        for arm in program["ARMS"]
    ]
    for three, one in zip(*both, strict=True):
        assert {**three, "images": one["images"]} == one
        assert one["images"] == three["images"][1:2]
        assert (tmp_path / "all" / three["images"][2]).is_file()
    sizes = {split: len(whole.records(split)) for split in program["SPLITS"]}
    right, wrong = ({split: [first, 1] * (size // 2) for split, size in sizes.items()} for first in (1, 0))
    runs = [{"arm": arm, "right": found} for arm, found in (("all", right), ("middle", wrong)) for _ in range(2)]
    told = program["summary"](runs, whole)
    assert told["test"]["every kind"]["all"] == [100, 100]
    assert told["test"]["every kind"]["middle"] == [50, 50]
    assert told["test"]["every kind"]["difference"]["difference"] == 50
    lines = program["table"](told).splitlines()
    assert len(lines) == 2 + 2 * 5
    assert sum(row["rows"] for kind, row in told["test_slab"].items() if kind != "every kind") == 270


def test_true_pairs_give_each_row_its_own_caption(tmp_path):
    """Rows of `projectors.py` have lost their captions, which are in another archive, in another order."""
    from medmllm.data.config import DataConfig
    from medmllm.data.sources import open_source

    program = runpy.run_path(str(PROGRAMS / "projectors.py"))
    program["write_archives"](tmp_path)
    whole = {record.id: record.caption for record in open_source(DataConfig()).records("train")}
    captions = dict(csv.reader((tmp_path / "captions.csv").read_text("utf-8").splitlines()[1:]))
    pairs = list(csv.reader((tmp_path / "true.csv").read_text("utf-8").splitlines()[1:]))
    assert {captions[column] for _, column in pairs} == set(captions.values())
    assert [captions[column] for _, column in pairs] == [whole[row] for row, _ in pairs]
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == [row for row, _ in pairs]
    assert not any("caption" in row for row in rows)
