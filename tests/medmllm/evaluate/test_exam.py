"""An evaluation that is stopped anywhere continues as if nothing had happened, and mixes with no other."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.evaluate import evaluate_model
from medmllm.evaluate.exam import Asked, Exam

ROOT = Path(__file__).resolve().parents[3]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def asked(drawn):
    return Asked(source=str(drawn), batch_size=5)


@pytest.fixture
def whole(finished, asked, tmp_path):
    scores = evaluate_model(finished / "model", asked, out=tmp_path / "whole")
    return scores, lines(tmp_path / "whole" / "eval" / "data_data.samples.jsonl")


def stop_after(count):
    class Stopped(BaseException):
        pass

    from medmllm.run.callbacks import Listener

    class Hears(Listener):
        def answered(self, done, total):
            if done >= count:
                raise Stopped

    return Hears(), Stopped


@pytest.mark.parametrize("torn", [0, 1, 40, 300])
def test_an_interrupted_evaluation_goes_on(finished, asked, whole, tmp_path, torn):
    hears, stopped = stop_after(15)
    with pytest.raises(stopped):
        evaluate_model(finished / "model", asked, out=tmp_path / "cut", listener=hears)
    part = tmp_path / "cut" / "eval" / "data_data.part.jsonl"
    assert len(lines(part)) == 15
    os.truncate(part, part.stat().st_size - torn)  # a kill in the middle of a write
    assert evaluate_model(finished / "model", asked, out=tmp_path / "cut") == whole[0]
    assert lines(part.with_name("data_data.samples.jsonl")) == whole[1]
    assert len({line["id"] for line in whole[1]}) == 48
    assert not part.exists()


def test_nothing_is_asked_twice(finished, asked, tmp_path, monkeypatch):
    hears, stopped = stop_after(40)
    with pytest.raises(stopped):
        evaluate_model(finished / "model", asked, out=tmp_path / "cut", listener=hears)
    exam = Exam.open(finished / "model", asked, out=tmp_path / "cut")
    seen = []
    questions = type(exam.asker).questions
    monkeypatch.setattr(
        type(exam.asker), "questions", lambda self, rs: seen.extend(r.id for r in rs) or questions(self, rs)
    )
    assert [sample.record.id for sample in exam.answer()] == [r.id for r in exam.records]
    assert seen == [r.id for r in exam.records[40:]]


def test_a_killed_process_goes_on(finished, asked, whole, tmp_path):
    slow = f"""
import sys, time
from pathlib import Path
from medmllm.evaluate.evaluate import evaluate_model
from medmllm.evaluate.exam import Asked
from medmllm.run.callbacks import Listener
class Slow(Listener):
    def answered(self, done, total): time.sleep(0.2)
model, out = Path({str(finished / "model")!r}), Path({str(tmp_path / "cut")!r})
evaluate_model(model, Asked(source={asked.source!r}, batch_size=5), out=out, listener=Slow())
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    process = subprocess.Popen([sys.executable, "-c", slow], env={**os.environ, "PYTHONPATH": path})
    part = tmp_path / "cut" / "eval" / "data_data.part.jsonl"
    deadline = time.monotonic() + 240
    while not (part.exists() and part.read_bytes().count(b"\n") >= 10) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 10 <= part.read_bytes().count(b"\n") < 48
    assert evaluate_model(finished / "model", asked, out=tmp_path / "cut") == whole[0]
    assert lines(part.with_name("data_data.samples.jsonl")) == whole[1]


@pytest.mark.parametrize("other", [{"max_new_tokens": 2}, {"batch_size": 7}])
def test_answers_of_other_settings_are_not_mixed_in(finished, asked, tmp_path, other):
    hears, stopped = stop_after(15)
    with pytest.raises(stopped):
        evaluate_model(finished / "model", asked, out=tmp_path / "cut", listener=hears)
    changed = Asked(**{"source": asked.source, "batch_size": 5, **other})
    with pytest.raises(DataError, match="other settings"):
        evaluate_model(finished / "model", changed, out=tmp_path / "cut")
    assert len(lines(tmp_path / "cut" / "eval" / "data_data.part.jsonl")) == 15


def test_a_file_of_something_else_is_left_alone(finished, asked, tmp_path):
    part = tmp_path / "eval" / "data_data.part.jsonl"
    part.parent.mkdir()
    part.write_text("{}\n")
    with pytest.raises(DataError, match="not an answer of an earlier attempt"):
        evaluate_model(finished / "model", asked, out=tmp_path)
    assert part.read_text() == "{}\n"


def test_any_llava_checkpoint_is_asked(foreign, drawn):
    scores = evaluate_model(foreign, Asked(source=str(drawn), limit=6, max_new_tokens=3))
    assert scores["n"] == 6
    assert scores["majority"] is None
    assert {"published", "strict", "intervals"} <= set(scores)


def test_images_outside_the_folder_are_asked_about_only_where_that_is_allowed(finished, drawn, tmp_path):
    rows = json.loads(drawn.read_text())[:4]
    images = os.path.relpath(drawn.parent, tmp_path)
    outside = [row | {"image": f"{images}/{row['image']}"} for row in rows]
    (tmp_path / "rows.json").write_text(json.dumps(outside))
    (drawn.parent / "four.json").write_text(json.dumps(rows))
    asked = Asked(source=str(tmp_path / "rows.json"))
    with pytest.raises(DataError, match="leaves the data file's folder"):
        Exam.open(finished, asked)
    here, there = Exam.open(finished, Asked(source=str(drawn.parent / "four.json"))), replace(asked, allow_outside=True)
    said = [sample.prediction for sample in here.answer()]
    assert [sample.prediction for sample in Exam.open(finished, there).answer()] == said


def test_a_model_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="holds no model"):
        evaluate_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="not llava"):
        evaluate_model(tmp_path)
    with pytest.raises(ConfigError, match="neither a folder"):
        evaluate_model("nobody/nothing")


def test_a_run_is_compared_with_another(finished, tmp_path):
    scores = evaluate_model(finished, baseline=finished)
    assert scores["comparison"]["strict"]["exact_match_all"]["difference"] == 0.0
    with pytest.raises(DataError, match="no answers to these questions"):
        evaluate_model(finished, baseline=tmp_path)
