"""Damage to a checkpoint in every way that was thought of: it is passed over for the sound one before."""

import json
import pickle
import shutil

import pytest
import torch

from medmllm.errors import RunError
from medmllm.run import checkpoint, manifest


@pytest.fixture
def two(tmp_path):
    """Checkpoints of two steps: their folders."""
    return [save(tmp_path, step) for step in (1, 2)]


def save(folder, step):
    x = torch.full((4, 3), float(step))
    tensors = {"x": x, "x:exp_avg": 10 * x, "x:step": torch.tensor(float(step))}
    return checkpoint.save_checkpoint(folder, step, tensors, {"settings": {}}, copies={"metrics.jsonl": b"1\n" * step})


def load(folder):
    like, said = {"x": torch.zeros(4, 3)}, []
    plain, moments = checkpoint.load_checkpoint(folder, like, message=said.append)
    assert torch.equal(like["x"], torch.full((4, 3), float(plain["step"])))
    assert torch.equal(moments["x:exp_avg"], 10 * like["x"])
    return plain["step"], said


def names():
    return ["__0_0.distcp", "state.json", "copy-of-metrics.jsonl", ".metadata", manifest.NAME]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("where", [0, 0.5, 0.999])
def test_a_flipped_bit_anywhere_is_seen(two, name, where):
    path = two[1] / name
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    step, said = load(two[0].parent)
    assert step == 1
    assert len(said) == 1
    assert "step-00000002" in said[0]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("share", [0, 0.5, None], ids=["empty", "cut", "missing"])
def test_a_short_or_missing_file_is_seen(two, name, share):
    path = two[1] / name
    content = path.read_bytes()
    path.unlink() if share is None else path.write_bytes(content[: int(share * len(content))])
    assert load(two[0].parent)[0] == 1


@pytest.mark.parametrize("name", names())
def test_another_steps_file_is_seen(two, name):
    shutil.copy(two[0] / name, two[1] / name)
    assert load(two[0].parent)[0] == 1


def test_a_renamed_checkpoint_is_seen(two):
    shutil.rmtree(two[1])
    shutil.copytree(two[0], two[1])
    assert load(two[0].parent)[0] == 1


class Marker:
    """A pickle that would leave a file behind if it were read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "state.json"])
@pytest.mark.parametrize("listed", [False, True], ids=["planted", "listed"])
def test_a_foreign_pickle_is_never_run(two, tmp_path, name, listed):
    """Also where the whole manifest was written to fit it, as a malicious folder would have it."""
    content = pickle.dumps(Marker(tmp_path / "marker"))
    path = two[1] / name
    size = path.stat().st_size
    path.write_bytes(content + bytes(max(0, size - len(content))))
    if listed:
        relist(two[1])
    found = load(two[0].parent)[0]
    assert found == 1 or (name == ".metadata" and listed)  # torch's index is not read at all
    assert not (tmp_path / "marker").exists()


def relist(folder, **change):
    """Make a manifest fit the folder again, with other entries where they are given."""
    path = folder / manifest.NAME
    listing = json.loads(path.read_text())
    del listing["seal"]
    listing["files"] = manifest.sync(p for p in folder.iterdir() if p != path)
    listing.update(change)
    path.write_text(json.dumps({**listing, "seal": manifest._seal(listing)}))


def piece(sizes=(4, 3), file="__0_0.distcp", start=0, size=9):
    return {"pieces": [{"offsets": [0, 0], "sizes": sizes, "file": file, "start": start, "bytes": size}]}


@pytest.mark.parametrize(
    "change",
    [
        {"size": [10**9, 10**9]},
        {"size": [4, 4]},
        {"size": [-1]},
        {"size": "4"},
        {"dtype": "load"},
        {"dtype": "nothing"},
        piece(file="../step-00000001/__0_0.distcp"),
        piece(start=10**12, size=10**12),
        piece(sizes=(10**9, 10**9)),
        {"pieces": []},
        {"pieces": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("tensor", ["x", "x:exp_avg"])
def test_sizes_and_places_that_lie_are_refused(two, tensor, change):
    tensors = json.loads((two[1] / manifest.NAME).read_text())["tensors"]
    tensors[tensor] |= change
    relist(two[1], tensors=tensors)
    assert load(two[0].parent)[0] == 1


@pytest.mark.parametrize("name", ["../../secret", "/etc/hostname"])
def test_files_outside_the_folder_are_not_looked_at(two, tmp_path, name):
    files = json.loads((two[1] / manifest.NAME).read_text())["files"]
    relist(two[1], files=files | {name: {"bytes": 1, "sha256": ""}})
    step, said = load(two[0].parent)
    assert step == 1
    assert "missing" in said[0]


def test_a_checkpoint_of_another_run_is_passed_over(two):
    def belongs(plain):
        raise manifest.DamagedError("it belongs to another run")

    with pytest.raises(RunError, match="belongs to another run") as caught:
        checkpoint.load_checkpoint(two[0].parent, {"x": torch.zeros(4, 3)}, belongs=belongs)
    assert "--resume" in caught.value.hint


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(two):
    (two[1] / "state.json").unlink()
    assert load(two[0].parent)[0] == 1
    save(two[0].parent, 2)
    assert load(two[0].parent) == (2, [])


def test_checkpoints_of_an_abandoned_future_go(two):
    save(two[0].parent, 9)
    (two[0].parent / "step-00000009" / "state.json").unlink()
    save(two[0].parent, 4)
    assert [path.name for path in checkpoint.steps(two[0].parent)] == ["step-00000002", "step-00000004"]


def test_copies_are_read_back_unless_they_are_damaged(two):
    assert checkpoint.read_copies(two[1]) == {"metrics.jsonl": b"1\n1\n"}
    (two[1] / "copy-of-metrics.jsonl").write_bytes(b"2\n2\n")
    assert checkpoint.read_copies(two[1]) == {}
