"""The page on transformers' Trainer is right about several processes."""

import re
from pathlib import Path

import processes
import pytest
import torch

PAGE = Path(__file__).resolve().parents[3] / "docs" / "trainer.md"
PROGRAM = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[:2])


def weights(count, folder, program):
    """Those of every process, after the page's program."""
    folder.mkdir()
    batch = program.replace("per_device_train_batch_size=64", f"per_device_train_batch_size={64 // count}")
    told = "\nimport os, sys\ntorch.save(model.state_dict(), f'{sys.argv[1]}/{os.environ[\"RANK\"]}.pt')\n"
    (folder / "train.py").write_text(batch.replace('"trained"', f'"{folder}", use_cpu=True') + told)
    codes, _, errors = processes.finish(processes.start(count, folder / "train.py", folder))
    assert codes == [0] * count, errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def test_two_processes_learn_what_one_learns(tmp_path):
    (alone,) = weights(1, tmp_path / "one", PROGRAM)
    assert int(alone["step"]) == 40
    for rank in weights(2, tmp_path / "two", PROGRAM):
        for name, weight in alone.items():
            torch.testing.assert_close(rank[name], weight, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_evaluation_before_training_leaves_processes_apart(tmp_path):
    """The reason of the page's warning; when this fails, transformers has mended it, and the warning can go."""
    early = PROGRAM.replace(
        "train_dataset=pairs[:448]).train()", "train_dataset=pairs[:448], eval_dataset=pairs[448:])"
    )
    assert early != PROGRAM
    early = early.replace("before = found(model)\nTrainer(", "before = found(model)\ntrainer = Trainer(")
    early = early.replace("eval_dataset=pairs[448:])", "eval_dataset=pairs[448:])\ntrainer.evaluate()\ntrainer.train()")
    first, second = weights(2, tmp_path / "early", early)
    assert not torch.allclose(first["encoders.text.weight"], second["encoders.text.weight"], atol=1e-2)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
