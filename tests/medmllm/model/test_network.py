"""Without a network, a model of the hub is looked for in the cache alone."""

import pytest
from huggingface_hub import constants
from transformers import AutoConfig

from medmllm.errors import ConfigError
from medmllm.evaluate.loading import check_model
from medmllm.model import network
from medmllm.model.hub import find_config


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network whose hub client has not been told; counts what is asked of the hub."""
    asked = []

    class Session:
        def head(self, address, *, timeout):
            asked.append(address)
            raise ConnectionError("no network")

    monkeypatch.setattr(network, "get_session", Session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return asked


@pytest.mark.parametrize("opens", [lambda: find_config("nobody/nothing", "key"), lambda: check_model("nobody/nothing")])
def test_a_missing_model_fails_without_a_second_try(offline, monkeypatch, opens):
    seen = []
    real = AutoConfig.from_pretrained

    def from_pretrained(name):
        seen.append(constants.HF_HUB_OFFLINE)
        return real(name)

    monkeypatch.setattr(AutoConfig, "from_pretrained", from_pretrained)
    with pytest.raises(ConfigError, match="neither a folder nor in the cache of the hub") as failed:
        opens()
    assert "hf download nobody/nothing" in failed.value.hint
    assert seen == [True]
    assert set(offline) == {constants.ENDPOINT}
    assert constants.HF_HUB_OFFLINE is False  # a network that comes back is used


def test_a_folder_asks_nothing(offline, tmp_path):
    with network.reaching(str(tmp_path)):
        assert constants.HF_HUB_OFFLINE is False
    assert offline == []
