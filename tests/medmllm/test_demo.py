"""The default run, whole: minutes long, so only on request (`./exgra test -m slow`)."""

import pytest

from medmllm.settings.load import load_config
from medmllm.training.trainer import train


@pytest.mark.slow
def test_the_default_run_learns_by_the_margin_that_the_readme_states(tmp_path):
    summary = train(load_config("demo"), tmp_path / "run")
    assert summary["test"]["accuracy"] > summary["test"]["majority"] + 0.10
    assert summary["matching"]["after"] > 2 * summary["matching"]["chance"]
    assert summary["matching"]["before"] < 2 * summary["matching"]["chance"]
