"""A sweep that one version began is taken up by the next, which has a setting more."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import graphalign
import medmllm
from medmllm.ablate import sweep as sweeps
from medmllm.ablate.grid import load_grid
from medmllm.ablate.places import key_of_settings
from medmllm.ablate.sweep import Sweep
from medmllm.settings.schema import Config


def statuses(sweep):
    return [outcome.status for outcome in sweep.outcomes()]


@pytest.fixture
def older(monkeypatch):
    """Runs are left as a version without some settings leaves them: `older("data.text_only")`."""

    def without(*names, named=None):
        carry_out = sweeps.run_in_process

        def leave(config, folder, jobs=1):
            result = carry_out(config, folder, jobs)
            tree = config.model_dump(mode="json")
            for name in names:
                section, key = name.split(".")
                del tree[section][key]
            (folder / "config.yaml").write_text(yaml.safe_dump(tree))
            if named:
                folder.rename(folder.with_name(named(tree)))
            return result

        monkeypatch.setattr(sweeps, "run_in_process", leave)
        return lambda: monkeypatch.setattr(sweeps, "run_in_process", carry_out)

    return without


def by_all_settings(tree):
    """The name that a run had while every setting was part of it."""
    kept = {key: value for key, value in tree.items() if key != "name"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("named", [None, by_all_settings], ids=["this naming", "the naming before"])
def test_only_what_an_older_version_has_not_run_is_run(grid_file, known, older, tmp_path, named):
    folder, axes = tmp_path / "runs" / "s", {"align.graph": ["knn(k=5)", "knn(k=3)"]}
    newer = older("data.text_only", "align.from_source", named=named)
    begun = Sweep.open(load_grid(grid_file(axes=axes, seeds=2)), folder)
    begun.run(1, lambda *_: None)
    newer()
    known.clear()
    more = Sweep.open(load_grid(grid_file(axes=axes, seeds=3)), folder)
    assert statuses(more) == ["done"] * 4 + ["missing"] * 2
    more.run(1, lambda *_: None)
    assert len(known) == 2
    assert statuses(more) == ["done"] * 6
    assert all((more.cells / outcome.key / "summary.json").exists() for outcome in more.outcomes())


def test_a_run_with_another_value_of_a_setting_is_never_taken_for_it(grid_file, known, tmp_path, tiny):
    """As where a default has changed: the name is the same, the settings are not."""
    sweep = Sweep.open(load_grid(grid_file(axes={"align.graph": ["knn(k=5)"]}, seeds=1)), tmp_path / "runs" / "s")
    sweep.run(1, lambda *_: None)
    file = sweep.cells / sweep.outcomes()[0].key / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["align"]["warmup"] = 0.5  # what an older version did by default
    file.write_text(yaml.safe_dump(tree))
    again = Sweep.reopen(sweep.folder)
    assert statuses(again) == ["missing"]
    known.clear()
    again.run(1, lambda *_: None)
    assert len(known) == 1
    assert statuses(again) == ["done"]
    assert len(list(again.cells.glob("*/summary.json"))) == 2
    file.write_text("nonsense: true\n")  # settings that this version does not know
    assert statuses(Sweep.reopen(sweep.folder)) == ["done"]


def test_a_name_depends_on_settings_that_differ_from_their_defaults():
    changed = {"exclude_defaults": True, "exclude": {"name"}}
    assert Config().model_dump(**changed) == {}
    name = Config.model_validate({"train": {"lr": 0.1}, "align": {"solver": "lap"}})
    assert name.model_dump(**changed) == {"train": {"lr": 0.1}, "align": {"solver": "lap"}}
    assert key_of_settings(name) != key_of_settings(Config())


SWEEP = """
import sys
from pathlib import Path
from medmllm.ablate.grid import load_grid
from medmllm.ablate.sweep import Sweep
import medmllm
sweep = Sweep.open(load_grid(sys.argv[1]), Path(sys.argv[2]))
before = [outcome.status for outcome in sweep.outcomes()]
ended = []
sweep.run(1, lambda outcome, *_: ended.append(outcome.seed))
print(Path(medmllm.__file__).parents[1], before, ended, [outcome.status for outcome in sweep.outcomes()], sep="|")
"""


@pytest.mark.slow
def test_a_version_with_a_new_setting_goes_on_with_real_runs(tiny, grid_file, tmp_path):
    """The next version is a copy of the packages with one setting more; each version runs in processes of its own."""
    for package in (medmllm, graphalign):
        source = Path(package.__file__).parent
        shutil.copytree(source, tmp_path / "next" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    schema = tmp_path / "next" / "medmllm" / "settings" / "schema.py"
    text = schema.read_text("utf-8")
    assert text.count("class AlignConfig(Section):\n") == 1
    field = '    brand_new: int = Field(3, description="A setting of the next version.")\n'
    schema.write_text(text.replace("class AlignConfig(Section):\n", f"class AlignConfig(Section):\n{field}"))
    folder, axes = tmp_path / "runs" / "s", {"train.lr": [1e-3, 2e-3]}
    settings = {"train.steps": 2, "train.save_every": 2, "train.eval_every": 2}

    def sweep(seeds, root):
        command = [sys.executable, "-c", SWEEP, grid_file(axes=axes, seeds=seeds, settings=settings), str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=root)
        return done.stdout.strip().split("|")

    here = Path(medmllm.__file__).parents[1]
    assert sweep(1, here) == [str(here), "['missing', 'missing']", "[0, 0]", "['done', 'done']"]
    place, before, ended, after = sweep(2, tmp_path / "next")
    assert place == str(tmp_path / "next")
    assert before == "['done', 'done', 'missing', 'missing']"
    assert ended == "[1, 1]"
    assert after == "['done', 'done', 'done', 'done']"
    assert sum("brand_new" in file.read_text() for file in (folder.parent / "cells").glob("*/config.yaml")) == 2
