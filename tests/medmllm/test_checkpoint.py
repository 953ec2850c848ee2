import pytest
import torch

from medmllm import checkpoint
from medmllm.errors import RunError


def test_what_was_saved_is_loaded(tmp_path):
    checkpoint.save(tmp_path, 3, {"x": torch.arange(4)})
    state = checkpoint.newest(tmp_path)
    assert (state["step"], state["x"].tolist()) == (3, [0, 1, 2, 3])


def test_the_newest_is_found_and_old_ones_go(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, step, {})
    assert checkpoint.newest(tmp_path)["step"] == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_a_write_that_fails_leaves_the_older_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"x": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, {"x": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.newest(tmp_path)["x"] == 1


def test_half_a_checkpoint_of_a_killed_process_is_never_found(tmp_path):
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / "state.pt").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) is None
    checkpoint.save(tmp_path, 1, {})
    assert not (tmp_path / ".part").exists()


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": 1})
    second = checkpoint.save(tmp_path, 2, {"x": 2})
    (second / "state.pt").write_bytes((second / "state.pt").read_bytes()[:40])
    assert checkpoint.newest(tmp_path)["x"] == 1
    for path in tmp_path.glob("step-*"):
        (path / "state.pt").write_bytes(b"")
    with pytest.raises(RunError, match="No checkpoint"):
        checkpoint.newest(tmp_path)
