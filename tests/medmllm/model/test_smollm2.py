"""The real pretrained model out of a wheel: nothing but the known file is taken, and it trains and answers."""

import json
import sys

import pytest

from medmllm.errors import ConfigError, MissingExtraError
from medmllm.model import smollm2
from medmllm.settings.load import load_config


def test_another_file_than_the_known_one_is_refused(tmp_path):
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(ConfigError, match="not the file that is known"):
        smollm2.unpack(wheel, tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_reader_is_asked_for_before_the_download(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(smollm2, "download", lambda scratch: pytest.fail("it was downloaded"))
    with pytest.raises(MissingExtraError, match="gguf") as caught:
        smollm2.folder()
    assert caught.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.network
def test_it_learns_by_adapters_and_answers_in_words(tmp_path):
    from medmllm.training.trainer import train

    run = tmp_path / "run"
    train(load_config("smollm2", ["eval.validation_limit=4", "eval.test_limit=4"]), run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss_lm"] for line in lines if "loss_lm" in line]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    samples = [json.loads(line) for line in (run / "eval" / "test.samples.jsonl").read_text().splitlines()]
    assert all(sample["prediction"].strip() for sample in samples)
    assert any(any(letter.isalpha() for letter in sample["prediction"]) for sample in samples)
    assert (run / "model" / "adapter_model.safetensors").exists()
