"""Sweeps whose runs are written in milliseconds, with answers that are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from medmllm.ablate import sweep as sweeps
from medmllm.ablate.grid import load_grid
from medmllm.ablate.sweep import Sweep
from medmllm.run.folder import RunFolder
from medmllm.settings.load import dump

QUESTIONS, PEOPLE = 60, 20
GAIN = {"good": 0.4, "even": 0.0, "bad": -0.3}  # over a chance of one half


@pytest.fixture
def grid_file(tmp_path, tiny):
    """Writes a grid on the tiny model: `grid_file(axes=..., seeds=3)`."""
    (tmp_path / "tiny.yaml").write_text(dump(tiny()))

    def write(**keys) -> str:
        tree = {
            "base": str(tmp_path / "tiny.yaml"),
            "axes": {"solver": ["hungarian", "sinkhorn"], "weight": [0, 1]},
            "seeds": 2,
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump({**tree, **keys}, sort_keys=False))
        return str(path)

    return write


def answer(config, folder: Path, gain: float) -> None:
    """The files of a finished run, with a share of right answers of one half and `gain`."""
    generator = np.random.default_rng(config.seed)
    right = generator.random(QUESTIONS) < 0.5 + gain
    run = RunFolder.open(folder, resume=False)
    run.write_text("config.yaml", dump(config))
    split = config.eval.splits[0]
    lines = [
        {
            "id": f"q{i:03}",
            "question": "Which side?",
            "subject": f"p{i % PEOPLE}",
            "image": f"{i}.png",
            "source": "films" if i % PEOPLE < 12 else "slices",
            "kind": "side",
            "correct": bool(right[i]),
            "answer": "left",
            "prediction": "left" if right[i] else "right",
        }
        for i in range(QUESTIONS)
    ]
    run.write_text(f"eval/{split}.samples.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    for step in range(1, 7):
        run.append("timings.jsonl", {"step": step, "seconds": 0.01 * step})
        run.append("metrics.jsonl", {"step": step, "loss_lm": 3.0 / step, "loss": 3.0 / step})
    for step in (3, 6):
        figures = {"accuracy": 0.05 * step + gain, "matching_accuracy": 0.4}
        run.append("metrics.jsonl", {"step": step, "validation": figures})
    run.set_status(
        "done", **{split: {"accuracy": float(right.mean())}}, matching={"before": 0.1, "after": 0.5 + gain / 2}
    )


@pytest.fixture
def known(monkeypatch):
    """Runs end at once: the gain is that of the point's name in `run.name`, and `fails` fails."""
    started = []

    def carry_out(config, folder, jobs=1):
        started.append(folder.name)
        arm = config.align.graph
        if config.train.lr > 1:
            RunFolder.open(folder, resume=folder.exists()).set_status("failed", error="training diverged at step 2")
            return 1, "training diverged at step 2"
        answer(config, folder, 0.4 if "k=3" in arm else -0.3 if "k=4" in arm else 0.0)
        return 0, ""

    monkeypatch.setattr(sweeps, "run_in_process", carry_out)
    return started


AXES = {
    "arm": {
        "even": {"align.graph": "knn(k=5)"},
        "good": {"align.graph": "knn(k=3)"},
        "bad": {"align.graph": "knn(k=4)"},
        "fails": {"train.lr": 100.0},
        "never": {"align.solver": "hungarian", "align.estimator": "implicit"},
    }
}


@pytest.fixture
def sweep(grid_file, known, tmp_path):
    """A sweep of five points that has come to an end."""
    found = Sweep.open(load_grid(grid_file(axes=AXES, reference={"arm": "even"}, seeds=4)), tmp_path / "runs" / "s")
    found.run(1, lambda *_: None)
    return found
