"""Runs end to end, repeat exactly, and survive being killed."""

import importlib
import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from medmllm.errors import DataError, RunError
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.training.trainer import train

FILES = (
    "train.log",
    "config.yaml",
    "overrides.txt",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "timings.jsonl",
    "summary.json",
)


def metrics(run):
    return (run / "metrics.jsonl").read_bytes()


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def test_a_run_leaves_a_complete_folder(tiny, tmp_path):
    summary = train(tiny(), tmp_path / "run")
    assert summary["status"] == "done"
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all((tmp_path / "run" / name).exists() for name in FILES)
    assert 0 <= summary["test"]["accuracy"] <= 1
    assert 0 <= summary["matching"]["chance"] < 1
    steps = [json.loads(line) for line in metrics(tmp_path / "run").splitlines()]
    aligned = [s for s in steps if "loss_align" in s]
    assert aligned
    assert all(math.isfinite(s["loss"]) and s["grad_norm_align"] > 0 for s in aligned)


def test_the_same_seed_gives_the_same_metrics_and_weights(tiny, tmp_path):
    for name in ("one", "two"):
        train(tiny(), tmp_path / name)
    train(tiny(seed=1), tmp_path / "other")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    assert metrics(tmp_path / "one") != metrics(tmp_path / "other")
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(first[name], second[name]) for name in first)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from medmllm.settings.load import load_config
from medmllm.run.callbacks import Listener
from medmllm.training.trainer import train

torch.set_num_threads(1)

class Killer(Listener):
    def step(self, step, total, metrics):
        if step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

train(load_config(sys.argv[1]), Path(sys.argv[2]), listener=Killer())
"""


@pytest.mark.parametrize("step", [1, 3, 5])
def test_killed_and_resumed_equals_uninterrupted(tiny, tmp_path, step):
    """A process of its own dies as by a power cut after `step`; before, at and after a checkpoint."""
    config = tiny()
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config, whole)
    arguments = [str(whole / "config.yaml"), str(broken), str(step)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=300, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert RunFolder(broken).status() == "running"
    train(config, broken, resume=True)
    assert metrics(broken) == metrics(whole)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(broken).items())


class Counter(Listener):
    """Counts the steps that are trained."""

    steps = 0

    def step(self, step, total, metrics):
        self.steps += 1


@pytest.mark.parametrize("where", ["trainer.validated", "finish.predict", "finish.draw_pictures"])
def test_a_failure_of_the_last_evaluation_loses_no_training(tiny, tmp_path, monkeypatch, where):
    config = tiny()
    train(config, tmp_path / "whole")
    module = importlib.import_module(f"medmllm.training.{where.partition('.')[0]}")
    given = getattr(module, where.partition(".")[2])

    def failing(*arguments, **named):
        if where == "trainer.validated" and arguments[2] < config.train.steps:
            return given(*arguments, **named)
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(module, where.partition(".")[2], failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            train(config, tmp_path / "run")
    heard = Counter()
    assert train(config, tmp_path / "run", resume=True, listener=heard)["status"] == "done"
    assert heard.steps == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    expected = weights(tmp_path / "whole")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(tmp_path / "run").items())


class Interrupter(Listener):
    """Presses Ctrl-C, or sends other signals, after step 3, which is not a step of a checkpoint."""

    def __init__(self, *signals):
        self.signals = signals or (signal.SIGINT,)

    def step(self, step, total, metrics):
        for number in self.signals if step == 3 else ():
            os.kill(os.getpid(), number)


@pytest.fixture
def on_a_terminal():
    """Signals act as on a terminal; a job in the background, or below nohup, may have some ignored."""
    on_terminal = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in on_terminal.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("on_a_terminal")
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)],
    ids=str,
)
def test_a_signal_saves_and_the_run_goes_on(tiny, tmp_path, signals):
    """A terminal that is closed may send two hang-ups, and is then no reason to die."""
    config = tiny(train={"eval_every": 6})
    train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", listener=Interrupter(*signals))
    assert RunFolder(tmp_path / "run").status() == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert train(config, tmp_path / "run", resume=True)["status"] == "done"
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_a_diverged_run_says_so(tiny, tmp_path):
    with pytest.raises(RunError, match="not finite") as caught:
        train(tiny(train={"lr": 1e30}), tmp_path / "run")
    assert "train.lr=" in caught.value.hint
    assert RunFolder(tmp_path / "run").status() == "failed"


def test_resuming_without_a_checkpoint_starts_from_the_beginning(tiny, tmp_path):
    config = tiny(train={"save_every": 100})
    train(config, tmp_path / "whole")
    RunFolder.open(tmp_path / "run", resume=False).append("metrics.jsonl", {"step": 1, "loss": -1.0})
    train(config, tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.usefixtures("on_a_terminal")
def test_resuming_on_other_data_is_refused(tiny, drawn, tmp_path):
    copy = tmp_path / "data.json"
    copy.write_text(drawn.read_text())
    (tmp_path / "images").symlink_to(drawn.parent / "images")
    config = tiny(data={"source": str(copy), "allow_outside": True})
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", listener=Interrupter())
    copy.write_text(drawn.read_text().replace("Where is the box?", "Where?"))
    with pytest.raises(DataError, match="changed"):
        train(config, tmp_path / "run", resume=True)


def test_data_errors_leave_no_folder_behind(tiny, tmp_path):
    with pytest.raises(DataError):
        train(tiny(data={"source": str(tmp_path / "none.json")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_gives_its_summary_and_trains_nothing(tiny, tmp_path):
    summary = train(tiny(), tmp_path / "run")
    before = metrics(tmp_path / "run")
    assert train(tiny(), tmp_path / "run", resume=True) == summary
    assert metrics(tmp_path / "run") == before


@pytest.mark.parametrize(
    "align",
    [
        {"view": "embed"},
        {"view": "lm_leaky"},
        {"texts": ["answer"]},
        {"texts": ["caption"], "barycenter": "mean"},
        {"layer": 1, "caption_grad": False},
        {"loss": "plot", "view": "lm_leaky"},
    ],
    ids=str,
)
def test_every_view_trains(tiny, tmp_path, align):
    train(tiny(align=align, train={"steps": 2}), tmp_path / "run")
    last = json.loads(metrics(tmp_path / "run").splitlines()[-2])
    assert last["grad_norm_align"] > 0


def test_alignment_at_every_second_step(tiny, tmp_path):
    stages = [{"name": "all", "share": 1, "trains": ["projector", "language"]}]
    train(tiny(align={"every": 2, "schedule": "linear"}, train={"stages": stages}), tmp_path / "run")
    lines = [json.loads(line) for line in metrics(tmp_path / "run").splitlines()]
    assert [line["step"] for line in lines if "loss_align" in line] == [1, 3, 5]
