"""Trackers hear what metrics.jsonl holds, write into the run's folder alone, and are missed at once."""

import json
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing

import pytest
import yaml

from medmllm.errors import MissingExtraError
from medmllm.planning.checks import check_trackers
from medmllm.planning.plan import check_config
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.training.observers import OFFLINE
from medmllm.training.trainer import train


class Counting(Listener):
    def __init__(self):
        self.steps, self.validations, self.said = [], [], []

    def step(self, step, total, metrics):
        self.steps.append(step)

    def validated(self, step, metrics):
        self.validations.append(step)

    def message(self, text):
        self.said.append(text)


@pytest.fixture
def alone(monkeypatch):
    """Nobody can be called."""

    def refuse(*where, **options):
        raise AssertionError(f"called {where}")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_tensorboard_holds_every_figure_of_the_run_and_changes_none(tiny, tmp_path, alone):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ear, run, few = Counting(), tmp_path / "run", {"steps": 2, "eval_every": 1}
    twice = ["tensorboard", "tensorboard"]
    train(tiny(engine={"track": twice}, train=few), run, listener=ear)
    train(tiny(train=few), tmp_path / "plain")
    assert (run / "metrics.jsonl").read_bytes() == (tmp_path / "plain" / "metrics.jsonl").read_bytes()
    assert not (tmp_path / "plain" / "tracking").exists()
    events = accumulator.EventAccumulator(str(run / "tracking" / "tensorboard" / "demo"))
    events.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(events.Scalars("train/loss")) == 2
    told = {event.step: event.value for event in events.Scalars("train/loss")}
    steps = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert told == pytest.approx(steps, rel=1e-6)
    told = {event.step: event.value for event in events.Scalars("validation/matching_accuracy")}
    held = {line["step"]: line["validation"]["matching_accuracy"] for line in lines if "validation" in line}
    assert told == pytest.approx(held, rel=1e-6)
    assert (ear.steps, ear.validations) == (list(steps), list(held))
    assert ear.said


@pytest.mark.parametrize("name", OFFLINE)
def test_a_tracker_that_is_not_installed_is_missed_at_once(tiny, monkeypatch, name):
    monkeypatch.setattr("medmllm.planning.checks.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        check_config(tiny(engine={"track": [name]}))
    assert "pip install" in caught.value.hint
    check_config(tiny(engine={"track": [name]}), packages=False)
    check_trackers(())


def test_every_tracker_that_can_be_named_is_known_to_accelerate():
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    from medmllm.settings.schema import EngineConfig

    assert set(OFFLINE) <= set(LOGGER_TYPE_TO_CLASS)
    assert EngineConfig(track=tuple(OFFLINE)).track == tuple(OFFLINE)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from medmllm.settings.load import load_config
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.training.trainer import train

torch.set_num_threads(1)

class Killer(Listener):
    def step(self, step, total, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

train(load_config(sys.argv[1]), Path(sys.argv[2]), listener=Killer())
"""


def held_by(name, folder):
    """(figure, step, value) of all that a tracker holds, however often."""
    return {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow, "trackio": in_trackio}[name](folder)


def in_tensorboard(folder):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in folder.rglob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag.startswith(("train/", "validation/")):
                    yield value.tag, event.step, value.tensor.float_val[0]


def in_wandb(folder):
    from wandb.proto.wandb_internal_pb2 import Record

    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        for data in logged(path.read_bytes()):
            record = Record.FromString(data)
            for item in record.history.item:
                key = ".".join(item.nested_key) or item.key
                if not key.startswith("_"):
                    yield key, record.history.step.num, json.loads(item.value_json)


def logged(content, block=2**15, head=7):
    """Records in pieces, as in LevelDB's log: checksum, length, and 1 for a whole one, 2 first, 3 middle, 4 last."""
    place, record = head, b""
    while place + head <= len(content):
        if block - place % block < head:
            place += block - place % block
            continue
        length, kind = struct.unpack("<4xHB", content[place : place + head])
        record += content[place + head : place + head + length]
        place += head + length
        if kind in (1, 4):
            yield record
            record = b""


def in_mlflow(folder):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    for run in mlflow.search_runs(experiment_names=["demo"], output_format="list"):
        for key in run.data.metrics:
            for metric in mlflow.MlflowClient().get_metric_history(run.info.run_id, key):
                yield key, metric.step, metric.value


def in_trackio(folder):
    (path,) = folder.glob("*.db")
    with closing(sqlite3.connect(path)) as database:
        for step, figures in database.execute("SELECT step, metrics FROM metrics"):
            for key, value in json.loads(figures).items():
                yield key, step, value


@pytest.mark.filterwarnings("ignore")  # their own affair
@pytest.mark.parametrize("name", OFFLINE)
def test_a_run_that_was_killed_and_resumed_is_reported_once(tiny, tmp_path, name):
    pytest.importorskip(name)
    config, run = tiny(engine={"track": [name]}, train={"steps": 4, "save_every": 2, "eval_every": 2}), tmp_path / "run"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-c", KILLED, tmp_path / "config.yaml", run]
    killed = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout == ""
    assert RunFolder(run).lines()[-1]["step"] == 3
    train(config, run, resume=True)
    expected = {}
    for line in RunFolder(run).lines():
        group, figures = ("validation", line["validation"]) if "validation" in line else ("train", line)
        for key, value in figures.items():
            if key != "step" and isinstance(value, (int, float)):
                expected[f"{group}/{key}", line["step"]] = pytest.approx(value, rel=1e-6)
    found = list(held_by(name, run / "tracking" / name))
    assert len(expected) > 20
    assert sorted(place[:2] for place in found) == sorted(expected)
    assert {(key, step): value for key, step, value in found} == expected
