"""The counts of docs/reliability.md, in one command: python -m pytest -m slow -s tests/reliability"""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import time

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from medmllm.errors import RunError
from medmllm.run import checkpoint, manifest
from tests.reliability.commands import Command, as_group, finish

pytestmark = pytest.mark.slow
# A vector added to all keys of an attention without positions raises all scores of a query alike; softmax drops it.
# So the true gradient of this bias is zero, and Adam turns its rounding error into steps of up to the learning rate.
KEYS = {"vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.bias"}
LEARNING_RATE = 1.5e-3
TINY = {
    "name": "tiny",
    "device": "cpu",
    "model": {
        "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": 1, "heads": 2},
        "language": {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "vocab_size": 300},
    },
    "train": {"steps": 12, "batch_size": 4, "lr": LEARNING_RATE, "save_every": 3, "eval_every": 4},
    "eval": {"max_new_tokens": 3, "validation_limit": 4},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("reliability")


@pytest.fixture(scope="module")
def data(place):
    rows = []
    (place / "images").mkdir()
    for number in range(40):
        Image.new("L", (28, 28), 6 * number).save(place / f"images/{number}.png")
        turns = [
            {"from": "human", "value": "<image>\nIs it dark?"},
            {"from": "gpt", "value": "yes" if number < 20 else "no"},
        ]
        rows.append({"id": str(number), "image": f"images/{number}.png", "conversations": turns})
    (place / "data.json").write_text(json.dumps(rows))
    return place / "data.json"


@pytest.fixture(scope="module")
def config(place, data):
    (place / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "data": {"source": str(data)}}))
    return place / "tiny.yaml"


@pytest.fixture(scope="module")
def whole(place, config):
    """A run that nothing disturbed, and its seconds."""
    finish(["train", config, "--out", place / "first"], place)  # the forks' parent loads all there is to load
    seconds, _ = finish(["train", config, "--out", place / "whole"], place)
    return place / "whole", seconds


def content(folder, names=("metrics.jsonl", "model/*.safetensors", "eval/*.jsonl", "eval/*.json")):
    """What must be the same byte for byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for name in names for p in sorted(folder.glob(name))}


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name in (".lock", ".reserve")]


def same(run, whole):
    assert content(run) == content(whole)
    assert leftovers(run) == []


# Damaged checkpoints


class Marker:
    """A pickle that would leave a file behind if it were read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def halted(place, config):
    """Runs with checkpoints of steps 3 and 6, killed later; of two seeds."""
    for seed in (0, 1):
        run = place / f"halted-{seed}"
        command = Command(["train", config, f"seed={seed}", "train.steps=300", "--out", run], place)
        until = time.monotonic() + 120
        while not (run / "checkpoints/step-00000006/manifest.json").exists() and time.monotonic() < until:
            time.sleep(0.001)
        command.kill()
        for step in (3, 6):
            assert checkpoint.folder_of_step(step) in [path.name for path in checkpoint.steps(run / "checkpoints")]
    return [place / f"halted-{seed}/checkpoints" for seed in (0, 1)]


def damage(rng, newest, older, foreign, marker):
    """Damage the newest checkpoint at random; what was done."""
    path = rng.choice(sorted(newest.iterdir()))
    whole, kind = path.read_bytes(), rng.choice(["cut", "flip", "swap", "other step", "other run", "pickle", "missing"])
    if kind == "cut":
        path.write_bytes(whole[: rng.randrange(len(whole))])
    elif kind == "flip":
        spot = rng.randrange(len(whole))
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1 << rng.randrange(8)]) + whole[spot + 1 :])
    elif kind == "swap":
        other = rng.choice([p for p in sorted(newest.iterdir()) if p != path])
        path.write_bytes(other.read_bytes())
        other.write_bytes(whole)
    elif kind == "other step":
        shutil.copy(older / path.name, path)
    elif kind == "other run":
        shutil.copy(foreign / path.name, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Marker(marker)))
        if rng.random() < 0.5 and path.name != manifest.NAME:  # with a manifest that fits it, as an attacker would
            listing = json.loads((newest / manifest.NAME).read_bytes())
            listing["files"] = manifest.sync(p for p in newest.iterdir() if p.name != manifest.NAME)
            del listing["seal"]
            (newest / manifest.NAME).write_text(json.dumps({**listing, "seal": manifest._seal(listing)}))
    else:
        path.unlink()
    return kind, path.name, whole


def test_damaged_checkpoints(halted, place, capsys):
    marker, counts = place / "marker", {"the one before": 0, "a sentence": 0, "harmless": 0}
    like = {name: torch.zeros(t.size) for name, t in _tensors(halted[0] / "step-00000003").items() if ":" not in name}
    old, new = (_weights(halted[0] / name, like) for name in ("step-00000003", "step-00000006"))
    for seed in range(500):
        rng, folder, said = random.Random(seed), place / "damaged", []
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("step-00000003", "step-00000006"):
            shutil.copytree(halted[0] / name, folder / name)
        foreign = halted[1] / "step-00000006"
        kind, name, before = damage(rng, folder / "step-00000006", folder / "step-00000003", foreign, marker)
        own = {name: torch.zeros_like(x) for name, x in like.items()}
        try:
            plain, _ = checkpoint.load_checkpoint(folder, own, message=said.append)
        except RunError:
            counts["a sentence"] += 1
            continue
        expected = old if plain["step"] == 3 else new
        assert all(torch.equal(own[name], expected[name]) for name in own), (seed, kind, name)
        if plain["step"] == 3:
            assert len(said) == 1
            counts["the one before"] += 1
        else:  # nothing was changed, or with a manifest that fits it a file from which no value of the run is read
            now = folder / "step-00000006" / name
            unread = kind == "pickle" and (name == ".metadata" or name.startswith(checkpoint.COPY))
            assert unread or now.read_bytes() == before, (seed, kind, name)
            counts["harmless"] += 1
        assert not marker.exists(), (seed, kind, name)
    report(capsys, f"500 damaged checkpoints: {counts}; the marker never appeared")


def _tensors(path):
    return manifest.Reader(path, manifest.read(path)).read_metadata().state_dict_metadata


def _weights(path, like):
    own = {name: torch.zeros_like(x) for name, x in like.items()}
    alone = path.parent / "alone"
    shutil.copytree(path, alone / path.name)
    checkpoint.load_checkpoint(alone, own)
    shutil.rmtree(alone)
    return own


def report(capsys, text):
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


# Kills


def killed(command, seconds, rng):
    """Kill at a random moment; whether it had not ended by then."""
    time.sleep(rng.uniform(0, seconds))
    return command.kill()


def killed_until_hit(start, seconds, rng, clean):
    """Start and kill until the kill came before the end."""
    for _ in range(20):
        if killed(start(), seconds, rng):
            return
        clean()
    raise AssertionError("always too late")


def resume(config, run, place):
    words = ["train", config, "--out", run]
    finish([*words, "--resume"] if run.exists() else words, place)


@pytest.mark.parametrize("kills", [24])
def test_killed_runs(whole, config, place, capsys, kills):
    for seed in range(kills):
        run, rng = place / f"killed-{seed}", random.Random(seed)
        killed_until_hit(
            lambda run=run: Command(["train", config, "--out", run], place),
            whole[1], rng, lambda run=run: shutil.rmtree(run, ignore_errors=True),
        )  # fmt: skip
        resume(config, run, place)
        same(run, whole[0])
        shutil.rmtree(run)
    report(capsys, f"{kills} runs killed at random moments: all byte-identical to the undisturbed run")


@pytest.mark.parametrize(("before", "after", "kills"), [(2, 1, 4), (1, 2, 4)])
def test_killed_runs_on_other_numbers_of_processes(whole, config, place, capsys, before, after, kills):
    for seed in range(kills):
        run, rng = place / f"processes-{before}-{seed}", random.Random(seed)
        words = ["train", config, "--out", run]
        commands = as_group(words, place, before)
        until = time.monotonic() + 120
        while not (run / "checkpoints/step-00000003").exists() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        hit = [command.kill() for command in commands]
        assert any(hit)
        again = as_group([*words, "--resume"], place, after)
        assert [command.end() for command in again] == [0] * after, again[0].text
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]]
        assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
        expected = load_file(whole[0] / "model/model.safetensors")
        found = load_file(run / "model/model.safetensors")
        assert found.keys() == expected.keys()
        for name in expected.keys() - KEYS:
            torch.testing.assert_close(
                found[name], expected[name], rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
        for name in KEYS:
            assert found[name].abs().max() <= 12 * LEARNING_RATE
        assert leftovers(run) == []
        shutil.rmtree(run)
    report(
        capsys, f"{kills} runs killed with {before} and resumed with {after} processes: each step once, same weights"
    )


def work_of(name, place, whole, data):
    """A command, and the file or folder below `place` that it makes."""
    return {
        "export": (["export", whole, place / "out"], "out"),
        "captions": (["data", "extend-captions", "--rules", data, place / "out.json"], "out.json"),
        "eval": (["eval", place / "run", "--split", "test"], "run/eval"),
        "report": (["report", place / "run"], "run"),
        "shards": (["data", "shard", data, place / "out", "--samples", "5"], "out"),
        "predict": (["predict", whole, data, "--out", place / "answers.jsonl"], "answers.jsonl"),
    }[name]


WORK = ("export", "captions", "eval", "report", "shards", "predict")


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("kills", [5])
def test_killed_work(whole, data, place, capsys, work, kills):
    names = ("*", "**/*")

    def fresh(name):
        folder = place / work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole[0], folder / "run", ignore=shutil.ignore_patterns("checkpoints"))
        return (folder, *work_of(work, folder, whole[0], data))

    def made(folder, out):
        target = folder / out
        if target.is_file():
            return target.read_bytes()
        return {str(p.relative_to(target)): p.read_bytes() for n in names for p in target.glob(n) if p.is_file()}

    folder, words, out = fresh("whole")
    seconds, _ = finish(words, folder / "cwd")
    expected = made(folder, out)
    if work == "captions":
        expected = expected.replace(str(folder).encode(), b"")
    for seed in range(kills):
        folder, words, out = fresh(f"killed-{seed}")
        rng = random.Random(seed)
        killed_until_hit(
            lambda words=words, folder=folder: Command(words, folder / "cwd"), seconds, rng,
            lambda seed=seed: fresh(f"killed-{seed}"),
        )  # fmt: skip
        finish(words, folder / "cwd")
        found = made(folder, out)
        if work == "captions":
            found = found.replace(str(folder).encode(), b"")
        assert found == expected
        assert leftovers(folder) == []
    report(capsys, f"{kills} times {work} killed at random moments and called again: all byte-identical")


@pytest.mark.parametrize("kills", [6])
def test_killed_sweeps(config, place, capsys, kills):
    grid = {"base": str(config), "axes": {"weight": [0, 1]}, "settings": {"train.steps": 4}}
    (place / "grid.yaml").write_text(yaml.safe_dump(grid))
    words = ["ablate", place / "grid.yaml", "--jobs", "2", "--seeds", "1"]
    seconds, _ = finish([*words, "--out", place / "sweep-whole/sweep"], place)
    expected = content(place / "sweep-whole/sweep", ("cells.json", "results.csv"))
    for seed in range(kills):
        out, rng = place / f"sweep-{seed}/sweep", random.Random(seed)
        killed_until_hit(
            lambda out=out: Command([*words, "--out", out], place),
            seconds, rng, lambda out=out: shutil.rmtree(out.parent),
        )  # fmt: skip
        finish([*words, "--out", out, *(["--resume"] if out.exists() else [])], place)
        assert content(out, ("cells.json", "results.csv")) == expected
        assert leftovers(out.parent) == []
    report(capsys, f"{kills} sweeps killed at random moments and resumed: all cells as in the undisturbed one")


# Two at once


@pytest.mark.parametrize("times", [20])
def test_two_resumes_at_once(whole, config, place, capsys, times):
    for seed in range(times):
        run, rng = place / f"twice-{seed}", random.Random(seed)
        killed_until_hit(
            lambda run=run: Command(["train", config, "--out", run], place),
            whole[1], rng, lambda run=run: shutil.rmtree(run, ignore_errors=True),
        )  # fmt: skip
        run.mkdir(exist_ok=True)
        words = ["train", config, "--out", run, "--resume"]
        both = [Command(words, place) for _ in range(2)]
        codes = sorted(command.end() for command in both)
        said = "".join(command.text for command in both)
        assert codes == [0, 1], said
        assert said.count("another process works in this folder: process ") == 1, said
        same(run, whole[0])
        shutil.rmtree(run)
    report(capsys, f"{times} times two resumes at once: one refused, the other byte-identical")


# Full disks


@pytest.fixture
def disk(tmp_path):
    """A disk of its own that can be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a disk that can be filled needs the right to mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all the space there is, to the last block."""
    file = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    for size in (2**20, 2**12, 1):
        try:
            while True:
                os.write(file, bytes(size))
        except OSError:
            continue
    os.close(file)


@pytest.mark.parametrize("seeds", [range(8), range(8, 16), range(16, 24)], ids=str)
def test_a_full_disk_in_a_run(whole, config, place, disk, capsys, seeds):
    before = told = 0
    for seed in seeds:
        run, rng = disk / "run", random.Random(seed)
        for _ in range(20):
            shutil.rmtree(run, ignore_errors=True)
            command = Command(["train", config, "--out", run], place)
            time.sleep(rng.uniform(0, whole[1]))
            fill(disk)
            code = command.end()
            (disk / "ballast").unlink()
            if code:
                break
        assert code == 1, command.text
        assert command.text.count("error: the disk is full") == 1, command.text
        assert "a bug in ExGra" not in command.text
        assert list(run.rglob("*.part")) == []
        if (run / "summary.json").exists():
            told += 1
            assert json.loads((run / "summary.json").read_text())["status"] == "failed"
            assert "Error" in (run / "error.log").read_text()
        else:
            before += 1
        resume(config, run, place)
        same(run, whole[0])
    told_of = f"{told} with status and error.log, {before} before there was a run"
    report(capsys, f"{len(seeds)} full disks in a run: one sentence each, {told_of}; all resumed byte-identically")


@pytest.mark.parametrize("times", [6])
def test_a_full_disk_in_shards(place, data, disk, capsys, times):
    words = ["data", "shard", data, "--samples", "5"]
    finish([*words[:3], place / "shards-whole", *words[3:]], place)
    expected = content(place / "shards-whole", ("*",))
    for seed in range(times):
        rng, out = random.Random(seed), disk / "out"
        for _ in range(60):
            shutil.rmtree(out, ignore_errors=True)
            fill(disk)
            with (disk / "ballast").open("r+b") as file:
                file.truncate((disk / "ballast").stat().st_size - 4096 * rng.randrange(1, 40))
            command = Command([*words[:3], out, *words[3:]], place)
            code = command.end()
            (disk / "ballast").unlink()
            if code:
                break
        assert code == 1, command.text
        assert command.text.count("error: the disk is full") == 1, command.text
        assert list(disk.iterdir()) == []
        finish([*words[:3], out, *words[3:]], place)
        assert content(out, ("*",)) == expected
        shutil.rmtree(out)
    report(capsys, f"{times} full disks in data shard: one sentence each, nothing half-written, then byte-identical")
