import json
import warnings

import pytest
import torch
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from medmllm.errors import RunError
from medmllm.run import checkpoint


def save(folder, step, x=0.0, **moments):
    tensors = {"x": torch.full((4,), float(x)), **moments}
    return checkpoint.save_checkpoint(folder, step, tensors, {"scaler": None})


def load(folder):
    like = {"x": torch.zeros(4)}
    found = checkpoint.load_checkpoint(folder, like)
    return found and (found[0]["step"], like["x"].tolist(), found[1])


def test_what_was_saved_is_loaded(tmp_path):
    save(tmp_path, 3, 7, **{"x:exp_avg": torch.arange(4.0), "x:step": torch.tensor(3.0)})
    step, values, tensors = load(tmp_path)
    assert (step, values) == (3, [7.0] * 4)
    assert tensors["x:exp_avg"].tolist() == [0, 1, 2, 3]
    assert tensors["x:step"].item() == 3


def test_the_newest_is_found_and_old_ones_go(tmp_path):
    assert load(tmp_path) is None
    for step in (9, 10, 100):
        save(tmp_path, step)
    assert load(tmp_path)[0] == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_a_write_that_fails_leaves_the_older_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    save(tmp_path, 1, 1)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_dict_saver, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert load(tmp_path)[1] == [1.0] * 4


def test_half_a_checkpoint_of_a_killed_process_is_never_found(tmp_path):
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / "state.json").write_bytes(b"half")
    assert load(tmp_path) is None
    save(tmp_path, 1)
    assert not (tmp_path / ".part").exists()


def test_torchs_own_tools_open_a_checkpoint(tmp_path):
    path = save(tmp_path, 3, 7, **{"x:exp_avg": torch.arange(4.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that there is one process
        dcp_to_torch_save(path, tmp_path / "whole.pt")
    found = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert {name: x.tolist() for name, x in found.items()} == {"x": [7.0] * 4, "x:exp_avg": [0, 1, 2, 3]}


def test_a_save_leaves_torchs_settings_alone(tmp_path, monkeypatch):
    def seen(*args, **kwargs):
        assert not torch.serialization.get_crc32_options()  # the manifest has something better
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_dict_saver, "save", seen)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2, 2)
    assert torch.serialization.get_crc32_options()


def spoil(path):
    for file in path.glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:40])


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    first, second = save(tmp_path, 1, 1), save(tmp_path, 2, 2)
    spoil(second)
    assert load(tmp_path)[:2] == (1, [1.0] * 4)
    (first / "state.json").write_text(json.dumps({})[:1])
    with pytest.raises(RunError, match="no checkpoint"):
        load(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoint.load_checkpoint(tmp_path, {"x": torch.zeros(4), "y": torch.zeros(1)})


def test_a_checkpoint_of_an_earlier_build_is_said_to_be_one(tmp_path):
    path = tmp_path / "step-00000001"
    path.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that there is one process
        state_dict_saver.save({"x": torch.zeros(4)}, checkpoint_id=path)
    (path / "state.json").write_text('{"step": 1}')
    with pytest.raises(RunError, match=r"earlier builds of ExGra wrote none; finish their runs with the build in"):
        load(tmp_path)
