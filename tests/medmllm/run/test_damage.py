"""A run whose files were damaged between two starts continues as if nothing had happened, or says what is wrong."""

import json
import random
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from safetensors.torch import load_file

from medmllm.ablate.report import write_run_report
from medmllm.errors import RunError, UserError
from medmllm.run.callbacks import Listener
from medmllm.run.folder import RunFolder
from medmllm.settings.load import dump
from medmllm.training.trainer import train


class Ears(Listener):
    def __init__(self, stop=None):
        self.said, self.stop = [], stop

    def message(self, text):
        self.said.append(text)

    def step(self, step, total, metrics):
        if step == self.stop:
            raise ConnectionError("the power went")


@pytest.fixture(scope="module")
def config(tiny):
    return tiny()


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config, run)
    return run


@pytest.fixture(scope="module")
def halted(config, tmp_path_factory):
    """A run that ended after step 5, with checkpoints of 2 and 4."""
    run = tmp_path_factory.mktemp("runs") / "halted"
    with pytest.raises(ConnectionError):
        train(config, run, listener=Ears(5))
    return run


@pytest.fixture
def run(halted, tmp_path):
    return shutil.copytree(halted, tmp_path / "run")


def resumed(config, run):
    ears = Ears()
    train(config, run, resume=True, listener=ears)
    return "\n".join(ears.said)


def same(run, whole):
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (run / "eval/matching_before.json").read_bytes() == (whole / "eval/matching_before.json").read_bytes()
    one, two = (load_file(folder / "model/model.safetensors") for folder in (run, whole))
    assert all(one[name].equal(two[name]) for name in two)
    assert not (run / ".lock").exists()
    assert not (run / ".reserve").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "cut": cut,
    "emptied": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "doubled": lambda path: path.write_bytes(2 * path.read_bytes()),
    "other": lambda path: path.write_bytes(b'{"step": 1}\n'),
    "binary": lambda path: path.write_bytes(b"\xff\x00\xfe\n" * 9),
}
KEPT = ["metrics.jsonl", "timings.jsonl", "data.json", "eval/matching_before.json"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_a_checkpoint_has_a_copy_of_is_put_back(config, whole, run, damage):
    for name in KEPT:
        DAMAGE[damage](run / name)
    said = resumed(config, run)
    assert all(f"{name} was missing, short or damaged" in said for name in KEPT)
    same(run, whole)


def test_nothing_is_said_of_an_undamaged_run(config, whole, run):
    assert resumed(config, run) == "resumed after step 4\nanswering the held-out questions"
    same(run, whole)


@pytest.mark.parametrize("line", ["garbage", '{"loss": 3}', "[]"])
def test_damaged_lines_of_a_run_without_a_checkpoint_are_written_again(config, whole, run, line):
    shutil.rmtree(run / "checkpoints")
    for name in ("metrics.jsonl", "timings.jsonl"):
        (run / name).write_text(f"{line}\n{(run / name).read_text()}")
    resumed(config, run)
    same(run, whole)


def test_a_damaged_checkpoint_is_said_and_the_one_before_gives_the_same_run(config, whole, run):
    (run / "checkpoints/step-00000004/__0_0.distcp").write_bytes(b"")
    said = resumed(config, run)
    assert "step-00000004 cannot be used and is passed over: __0_0.distcp has 0 bytes" in said
    assert "resumed after step 2" in said
    same(run, whole)


def test_no_checkpoint_is_better_than_a_wrong_one(config, run, tiny):
    other = tiny(train={"lr": 0.5})
    with pytest.raises(RunError, match=r"other settings \(train.lr differ"):
        train(other, run, resume=True)


def test_lines_lost_after_the_end_are_put_back(config, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    cut(run / "metrics.jsonl")
    assert "metrics.jsonl was missing, short or damaged" in resumed(config, run)
    same(run, whole)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"status": 3}', "\xff"], ids=str)
def test_a_damaged_summary_names_its_remedy(config, whole, run, content):
    (run / "summary.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match="damaged") as caught:
        train(config, run, resume=True)
    assert caught.value.where == str(run / "summary.json")
    assert "remove it" in caught.value.hint
    (run / "summary.json").unlink()
    resumed(config, run)
    same(run, whole)


RESUME = """
import sys
from pathlib import Path
from medmllm.ablate.report import write_run_report
from medmllm.errors import RunError, UserError
from medmllm.settings.load import load_config
from medmllm.training.trainer import train
try:
    train(load_config(sys.argv[1]), Path(sys.argv[2]), resume=True)
except RunError as error:
    sys.exit(error.message)
"""


def test_of_two_resumes_at_once_one_is_refused_and_the_other_is_the_undisturbed_run(config, whole, run, tmp_path):
    (tmp_path / "config.yaml").write_text(dump(config))
    command = [sys.executable, "-c", RESUME, tmp_path / "config.yaml", run]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=300)[1] for process in both)
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert "another process works in this folder: process" in said[1]
    same(run, whole)


def test_a_question_may_hold_line_separators(tmp_path):
    run = RunFolder.open(tmp_path / "run", resume=False)
    line = {"step": 1, "question": "a\u2028b\u2029c\u0085d"}
    run.append("metrics.jsonl", line)
    assert run.lines() == [line]
    assert json.loads((run.path / "metrics.jsonl").read_text("utf-8")) == line


def lines_of(path):
    return path.read_bytes().split(b"\n")[:-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines, ""),
        (lambda lines: lines[:-3], "2 of 6 steps are missing"),
        (lambda lines: lines + lines[-3:], "2 steps are written more than once"),
        (lambda lines: [], "6 of 6 steps are missing"),
    ],
)
def test_lost_lines_are_marked_in_the_report(whole, tmp_path, change, said):
    run = shutil.copytree(whole, tmp_path / "run")
    lines = change(lines_of(run / "metrics.jsonl"))
    (run / "metrics.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    write_run_report(run)
    assert (f"metrics.jsonl is damaged: {said}" in (run / "report.md").read_text()) == bool(said)
    assert (f"metrics.jsonl is damaged: {said}" in (run / "report.html").read_text()) == bool(said)


def flipped(content, seed):
    rng = random.Random(seed)
    spot = rng.randrange(len(content))
    return content[:spot] + bytes([content[spot] ^ 1 << rng.randrange(8)]) + content[spot + 1 :]


@pytest.mark.parametrize(
    "name", ["summary.json", "metrics.jsonl", "eval/test.samples.jsonl", "eval/matching_after.json"]
)
@pytest.mark.parametrize("seed", range(12))
def test_a_report_of_damaged_files_is_a_sentence_or_a_report(whole, tmp_path, name, seed):
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "model"))
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) * seed // 3] if seed < 3 else flipped(content, seed))
    with suppress(UserError):
        write_run_report(run)
