"""A sweep runs what is missing, keeps what is there, and outlives what fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medmllm.ablate.grid import load_grid
from medmllm.ablate.sweep import Sweep, run_in_process
from medmllm.errors import ConfigError
from medmllm.settings.load import dump


def statuses(sweep):
    return [outcome.status for outcome in sweep.outcomes()]


def test_a_failure_leaves_the_others_done(sweep):
    assert statuses(sweep) == ["done", "done", "done", "failed", "skipped"] * 4
    failed = [outcome for outcome in sweep.outcomes() if outcome.status == "failed"]
    assert {outcome.error for outcome in failed} == {"training diverged at step 2"}


def test_only_what_is_missing_or_failed_runs_again(sweep, known):
    heard = []
    known.clear()
    sweep.run(1, lambda *told: heard.append(told))
    assert len(known) == len(set(known)) == 4
    assert [outcome.status for outcome, _, _ in heard] == ["failed"] * 4
    assert [(count, total) for _, count, total in heard] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_sweeps_beside_each_other_share_their_runs(sweep, known, grid_file, tmp_path):
    known.clear()
    axes = {"align.graph": ["knn(k=5)", "knn(k=3)"]}
    other = Sweep.open(load_grid(grid_file(axes=axes, seeds=4)), tmp_path / "runs" / "other")
    assert statuses(other) == ["done"] * 8
    other.run(1, lambda *_: None)
    assert not known


def test_a_sweep_is_not_overwritten_by_another(sweep, grid_file):
    with pytest.raises(ConfigError, match="holds another grid"):
        Sweep.open(load_grid(grid_file(seeds=4)), sweep.folder)


def test_more_seeds_and_another_reference_go_on_in_the_same_folder(sweep):
    from dataclasses import replace

    more = Sweep.open(replace(sweep.grid, seeds=5, reference={"arm": "good"}), sweep.folder)
    assert statuses(more).count("missing") == 4
    with pytest.raises(ConfigError, match="holds another grid"):
        Sweep.open(replace(sweep.grid, seeds=2), sweep.folder)


def test_a_sweep_is_found_again_in_its_folder(sweep, tmp_path):
    assert Sweep.reopen(sweep.folder) == sweep
    with pytest.raises(ConfigError, match="holds no sweep"):
        Sweep.reopen(tmp_path / "runs")


def test_several_at_once_all_end(grid_file, known, tmp_path):
    sweep = Sweep.open(load_grid(grid_file(seeds=3)), tmp_path / "runs" / "many")
    sweep.run(3, lambda *_: None)
    assert statuses(sweep) == ["done"] * 12


def test_a_process_of_its_own_runs_a_cell_and_keeps_no_checkpoint(tiny, tmp_path):
    folder = tmp_path / "cells" / "one"
    code, said = run_in_process(tiny(), folder)
    assert (code, said) == (0, "")
    assert (folder / "eval" / "test.samples.jsonl").exists()
    assert not list((folder / "checkpoints").iterdir())


def test_a_process_that_fails_says_why(tiny, tmp_path):
    code, said = run_in_process(tiny(train={"lr": 1e30, "clip": 1e30}), tmp_path / "cells" / "one")
    assert code == 1
    assert "diverged at step" in said


CHILD = """
import sys
from pathlib import Path
from medmllm.ablate.sweep import run_in_process
from medmllm.settings.load import load_config
run_in_process(load_config(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_cell_ends_with_a_sweep_that_is_killed_and_is_taken_up_again(tiny, tmp_path):
    config, folder = tmp_path / "config.yaml", tmp_path / "cells" / "one"
    config.write_text(dump(tiny(train={"steps": 150, "save_every": 10, "eval_every": 150})))
    parent = subprocess.Popen([sys.executable, "-c", CHILD, str(config), str(folder)], start_new_session=True)
    wait(lambda: list((folder / "checkpoints").glob("step-*")))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait(lambda: not locked(folder))
    there = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert there
    from medmllm.settings.load import load_config

    code, _ = run_in_process(load_config(str(config)), folder)
    assert code == 0
    assert "resumed after step" in (folder / "train.log").read_text("utf-8")


def locked(folder: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            return False
    except Timeout:
        return True


def wait(done, seconds=120):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
