"""Several processes of one command: torchrun's way and our own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exgra.launch import environments

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
SHORT = ("train.steps=2", "eval.validation_limit=4", "eval.test_limit=4", "eval.max_new_tokens=1", "device=cpu")


def exgra(*words, launcher=("-m", "exgra"), **options):
    command = [sys.executable, *launcher, *map(str, words)]
    return subprocess.Popen(
        command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def test_every_process_has_a_number_and_one_meeting_place():
    first, second = environments(2)
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"]) == ("0", "1", "2")
    assert first["MASTER_PORT"] == second["MASTER_PORT"]


def test_two_processes_make_one_run(tiny, tmp_path):
    process = exgra("train", tiny, *SHORT, "--nproc", 2, "--out", tmp_path / "run", "--json")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "done"
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]


@pytest.mark.slow
def test_torchrun_makes_one_run(tiny, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "exgra")
    process = exgra("train", tiny, *SHORT, "--out", tmp_path / "run", "--json", launcher=launcher)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "done"


@pytest.mark.slow
def test_an_error_is_told_once(tiny, tmp_path):
    process = exgra("train", tiny, *SHORT, "train.lr=1e30", "--nproc", 2, "--out", tmp_path / "run")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert err.count("error:") == 1
    assert "diverged" in err


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tiny, tmp_path):
    run = tmp_path / "run"
    words = ("train.steps=100000", "train.save_every=100000", "eval.validation_limit=4", "device=cpu")
    process = exgra("train", tiny, *words, "--nproc", 2, "--out", run)
    until = time.monotonic() + 180
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 4:
        assert time.monotonic() < until
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"exgra train --resume --out {run}" in err
    assert len(list((run / "checkpoints").glob("step-*"))) == 1
