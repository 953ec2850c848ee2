"""One process, several passes, two replicas and two shards: the same gradient of every parameter."""

import json
from pathlib import Path

import processes
import pytest
import torch

from medmllm.run.folder import RunFolder
from medmllm.settings.load import dump
from medmllm.training.trainer import train

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config_file(tiny, tmp_path_factory):
    """Alignment on, several samples of one image, the captions as targets too, and noise that tells samples apart."""
    stages = [{"name": "all", "share": 1, "trains": ["vision", "projector", "language"]}]
    config = tiny(train={"stages": stages, "caption_weight": 0.5, "batch_size": 12}, align={"weight": 2.0})
    path = tmp_path_factory.mktemp("parallel") / "config.yaml"
    path.write_text(dump(config))
    return path


@pytest.fixture(scope="module")
def alone(config_file):
    return run(1, config_file, "plain,samples,tokens")


@pytest.fixture(scope="module")
def two(config_file):
    return run(2, config_file, "plain,samples,fsdp,fsdp-samples")


def run(count, config_file, names):
    out = config_file.with_name(f"{count}.pt")
    codes, _, errors = processes.finish(processes.start(count, HERE / "gradients.py", config_file, out, names))
    assert codes == [0] * count, errors
    return torch.load(out, weights_only=True)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name != "passes":
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("way", ["samples", "tokens"])
def test_accumulation_equals_one_pass(alone, way):
    assert alone[way]["passes"] > 1
    assert float(alone["plain"]["align"]) > 0
    assert sum(bool(g.abs().sum() > 0) for n, g in alone["plain"].items() if n.startswith("alignment")) > 2
    assert_same(alone[way], alone["plain"])


@pytest.mark.parametrize("way", ["plain", "samples", "fsdp", "fsdp-samples"])
def test_two_processes_equal_one(alone, two, way):
    assert_same(two[way], alone["plain"])


def test_one_process_that_nobody_launched_shards_for_itself(tiny, tmp_path):
    losses = {}
    for strategy in ("ddp", "fsdp"):
        engine = {"strategy": strategy, "offload": strategy == "fsdp"}
        train(tiny(train={"steps": 2}, engine=engine), tmp_path / strategy)
        losses[strategy] = [
            line["loss"] for line in RunFolder(tmp_path / strategy).lines("metrics.jsonl") if "loss" in line
        ]
    assert losses["fsdp"] == pytest.approx(losses["ddp"], rel=1e-6)
    assert not torch.distributed.is_initialized()


TRAIN = """
import atexit, signal, sys
from pathlib import Path
import torch
from medmllm.run.callbacks import Listener
from medmllm.settings.load import load_config
from medmllm.training.trainer import train

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)

def say_threads():
    for name in Path("/proc/self/task").glob("*/comm"):
        print(name.read_text(), end="")

atexit.register(say_threads)

class Interrupter(Listener):
    def step(self, step, total, metrics):
        if step == int(sys.argv[4]):
            signal.raise_signal(signal.SIGINT)

train(load_config(sys.argv[1]), Path(sys.argv[2]), resume=sys.argv[3] == "resume", listener=Interrupter())
"""


def run_training(count, config, out, how, stop=-1, program=TRAIN):
    """Exit codes and errors; none of the group's threads may outlive it, as one that does can abort the process."""
    codes, said, errors = processes.finish(processes.start(count, "-c", program, config, out, how, stop))
    assert "gloo" not in "".join(said)
    return codes, errors


def figures(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line["step"], line["loss"], line["grad_norm"]] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """An uninterrupted run of one process, and its configuration file."""
    out = tmp_path_factory.mktemp("whole")
    config = tiny(train={"save_every": 100, "eval_every": 100})
    (out / "config.yaml").write_text(dump(config))
    train(config, out / "run")
    return out


@pytest.mark.parametrize(
    ("before", "after", "strategy"),
    [
        (2, 1, "fsdp"),
        pytest.param(1, 2, "fsdp", marks=pytest.mark.slow),
        pytest.param(2, 1, "ddp", marks=pytest.mark.slow),
        pytest.param(1, 2, "ddp", marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_resumes_on_another_number_of_processes(whole, tiny, tmp_path, before, after, strategy):
    """Interrupted in the second stage, by Ctrl-C in the first process alone; the other saves its part too."""
    config = whole / "config.yaml"
    if strategy == "fsdp":
        config = tmp_path / "config.yaml"
        made = tiny(train={"save_every": 100, "eval_every": 100}, engine={"strategy": "fsdp"})
        config.write_text(dump(made))
    codes, errors = run_training(before, config, tmp_path / "run", "new", 4)
    assert all(codes), errors
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000004"]
    for name in ("timings.jsonl", "data.json"):  # the first process mends what all read
        (tmp_path / "run" / name).write_text("{damaged\n")
    codes, errors = run_training(after, config, tmp_path / "run", "resume")
    assert codes == [0] * after, errors
    for found, expected in zip(figures(tmp_path / "run"), figures(whole / "run"), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert RunFolder(tmp_path / "run").status() == "done"


BROKEN = TRAIN.replace(
    "class Interrupter",
    """
from medmllm.distributed import process
from medmllm.training.loader import Steps
from medmllm.errors import DataError
read = Steps.__getitem__

def broken(self, step):
    if step == 2 and process().rank == 1:
        raise DataError("the image is damaged", where="data.json: row 7", hint="replace it")
    return read(self, step)

Steps.__getitem__ = broken

class Interrupter""",
)


def test_a_failure_of_one_process_is_told_by_the_first(whole, tmp_path):
    codes, errors = run_training(2, whole / "config.yaml", tmp_path / "run", "new", program=BROKEN)
    assert codes == [1, 1], errors
    assert "RunError: Process 1: the image is damaged" in errors[0]
    assert "ElsewhereError" in errors[1]
    assert RunFolder(tmp_path / "run").status() == "failed"
