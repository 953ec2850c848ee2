"""Errors of a step become advice, and a step can be profiled."""

from pathlib import Path

import pytest
import torch

from medmllm.errors import RunError
from medmllm.run.folder import Follower
from medmllm.training.failures import explained, smaller
from medmllm.training.trainer import train


def test_out_of_memory_names_what_to_change(tiny):
    config = tiny(train={"batch_size": 8})
    with pytest.raises(RunError, match="out of memory at step 3") as caught, explained(config, 3, Follower(Path())):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert "train.gradient_checkpointing=true" in caught.value.hint
    assert "engine.micro_batch=4" in caught.value.hint


def test_nothing_is_advised_that_is_done_already(tiny):
    engine = {"micro_batch": 1, "strategy": "fsdp", "offload": True}
    config = tiny(train={"gradient_checkpointing": True, "optimizer": "adamw8bit"}, engine=engine)
    assert smaller(config) == ["use more or larger GPUs, or a smaller model"]


def test_profile_traces_a_few_steps(tiny, tmp_path):
    train(tiny(engine={"profile": True}, train={"steps": 6, "eval_every": 6}), tmp_path / "run")
    trace = (tmp_path / "run" / "profile" / "rank-0.json").read_text()
    assert "traceEvents" in trace


@pytest.mark.parametrize("stage", ["zero2", "zero3"])
def test_deepspeed_configurations_are_taken_by_accelerate(stage):
    """Their keys and stages, as accelerate's plugin reads them; `interop/test_deepspeed.py` runs them."""
    from accelerate.utils import DeepSpeedPlugin

    import medmllm.settings.load

    file = medmllm.settings.load.PRESETS / "deepspeed" / f"{stage}.json"
    plugin = DeepSpeedPlugin(hf_ds_config=str(file))
    assert plugin.zero_stage == int(stage[-1])
    assert plugin.deepspeed_config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert plugin.deepspeed_config["gradient_clipping"] == 1.0
