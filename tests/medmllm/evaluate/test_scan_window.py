"""Scans are shown in the window of training to whoever asks the model later, and it is said."""

import json
import shutil

import numpy as np
import pytest

from medmllm.errors import ConfigError
from medmllm.evaluate import predict
from medmllm.evaluate.conversation import Conversation
from medmllm.evaluate.exam import Asked, Exam
from medmllm.evaluate.predict import Settings, predict_file
from medmllm.interop.export import export
from medmllm.run.callbacks import Listener

pytest.importorskip("pydicom")


class Heard(Listener):
    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)

    @property
    def windows(self):
        return [line for line in self.lines if "window" in line]


@pytest.fixture
def run(finished, tmp_path):
    """A run that was trained with `data.window=lung`."""
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "config.yaml"
    assert "window: auto" in path.read_text()
    path.write_text(path.read_text().replace("window: auto", "window: lung"))
    return folder


@pytest.fixture
def scan(tmp_path):
    """A slice whose header asks for a window in which lungs are black."""
    from tests.medmllm.data.scans.test_render import dicom

    pixels = np.array([[-600, -600], [40, 40]], np.int16)
    return dicom(tmp_path / "scans/a.dcm", pixels, RescaleSlope=1, RescaleIntercept=0, WindowCenter=40, WindowWidth=400)


def corner(image):
    """Grey value of the lungs: 0 in the file's own window, 128 in that of lungs, 0 in that of bone."""
    return np.asarray(image)[0, 0, 0]


@pytest.fixture
def shown(monkeypatch):
    """What `predict` shows the model."""
    seen = []

    def answer(llava, asker, records, **_):
        seen.extend(corner(asker.source.image(record)) for record in records)
        yield ["yes"] * len(records)

    monkeypatch.setattr(predict, "answer_batches", answer)
    return seen


def test_predict_shows_scans_as_training_did(run, scan, shown, tmp_path):
    heard = Heard()
    predict_file(run, scan, tmp_path / "a.jsonl", question="Air?", listener=heard)
    predict_file(run / "model", scan, tmp_path / "b.jsonl", question="Air?")
    predict_file(
        run, scan, tmp_path / "c.jsonl", question="Air?", settings=Settings(window="soft_tissue"), listener=heard
    )
    assert shown == [128, 128, 0]
    assert ["window lung, as in training" in heard.windows[0], "--window says" in heard.windows[1]] == [True, True]


def test_an_exported_model_keeps_its_window(run, scan, shown, tmp_path):
    folder = export(run, tmp_path / "out")
    assert "window `lung`" in (folder / "README.md").read_text()
    predict_file(folder, scan, tmp_path / "a.jsonl", question="Air?")
    assert shown == [128]


def test_a_model_without_a_window_warns_of_scans_alone(foreign, scan, shown, drawn, tmp_path):
    heard = Heard()
    predict_file(foreign, scan, tmp_path / "a.jsonl", question="Air?", listener=heard)
    assert heard.windows[0].startswith("warning: in which window")
    again = Heard()
    predict_file(foreign, drawn.parent / "images/0.png", tmp_path / "b.jsonl", question="Air?", listener=again)
    assert again.windows == []


def test_other_data_is_shown_as_training_was(run, scan):
    rows = [{"id": "1", "image": "a.dcm", "question": "Air?", "answer": "yes"}]
    path = scan.with_name("rows.json")
    path.write_text(json.dumps(rows))
    heard = Heard()
    exam = Exam.open(run, Asked(source=str(path)), listener=heard)
    assert corner(exam.source.image(exam.records[0])) == 128
    assert "window lung" in heard.windows[0]
    other = Exam.open(run, Asked(source=str(path), window="40/400"))
    assert corner(other.source.image(other.records[0])) == 0
    assert other.asked.name == "data_rows_window_40_400"
    with pytest.raises(ConfigError, match="is not a window"):
        Exam.open(run, Asked(window="lungs"))


def test_a_conversation_shows_scans_as_training_did(run, scan):
    talk = Conversation.open(run)
    assert "window lung" in talk.show(scan)
    assert corner(talk.image) == 128
    other = Conversation.open(run, window="40/400")
    assert "--window says" in other.show(scan)
    assert corner(other.image) == 0
