"""Trackers hear what metrics.jsonl holds, write into the run's folder alone, and are missed at once."""

import json
import socket

import pytest

from medmllm.errors import MissingExtraError
from medmllm.planning.checks import check_trackers
from medmllm.planning.plan import check_config
from medmllm.run.callbacks import Listener
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


@pytest.mark.filterwarnings("ignore")  # their own affair
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_others_write_beside_the_run_where_they_are_installed(tiny, tmp_path, name):
    pytest.importorskip(name)
    train(tiny(engine={"track": [name]}, train={"steps": 2}), tmp_path / "run")
    wanted = {"wandb": "wandb/offline-run-*/*.wandb", "mlflow": "mlflow.db"}[name]
    (written,) = (tmp_path / "run" / "tracking" / name).glob(wanted)
    assert written.stat().st_size > 1000
