"""A run of seconds, and the command line called as a function."""

import json
from typing import NamedTuple

import pytest
import yaml
from PIL import Image

from exgra.main import run

TINY = {
    "name": "tiny",
    "device": "cpu",
    "model": {
        "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": 1, "heads": 2},
        "language": {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "vocab_size": 300},
    },
    "train": {"steps": 4, "batch_size": 4, "save_every": 2, "eval_every": 2},
    "eval": {"max_new_tokens": 3, "validation_limit": 4},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A configuration file of a tiny model on 20 grey squares."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = []
    for number in range(20):
        Image.new("L", (28, 28), 12 * number).save(folder / f"{number}.png")
        turns = [
            {"from": "human", "value": "<image>\nIs it dark?"},
            {"from": "gpt", "value": "yes" if number < 10 else "no"},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (folder / "data.json").write_text(json.dumps(rows))
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "data": {"source": str(folder / "data.json")}}))
    return folder / "tiny.yaml"


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def exgra(capfd, monkeypatch, tmp_path):
    """Calls the command line in an empty folder: `exgra("train", "--dry-run")`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return call
