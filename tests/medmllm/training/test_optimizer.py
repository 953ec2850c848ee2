"""The optimiser by name, its state by names, and the gradient's norm."""

import sys

import pytest
import torch
from torch import nn

from graphalign.extras import pip_line
from medmllm.errors import MissingExtraError
from medmllm.settings.schema import TrainConfig
from medmllm.training.optimizer import build_optimizer, named_state, restore_state
from medmllm.training.parallel import clip


def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 1)})


def stepped(net, optimizer, count=2):
    for _ in range(count):
        net["b"](net["a"](torch.ones(4, 3))).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_vectors_are_not_decayed():
    groups = build_optimizer(model(), TrainConfig(weight_decay=0.3)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.3, 0.0]
    assert all((p.ndim > 1) == (group["weight_decay"] > 0) for group in groups for p in group["params"])


def test_state_goes_and_comes_by_name():
    net, config = model(), TrainConfig()
    net["a"].requires_grad_(False)
    optimizer = build_optimizer(net, config)
    stepped(net, optimizer)
    state = {name: x.clone() for name, x in named_state(optimizer, net).items()}
    assert {name.partition(":")[0] for name in state} == {"b.weight", "b.bias"}
    other = model()
    other.load_state_dict(net.state_dict())
    other["a"].requires_grad_(False)
    again = build_optimizer(other, config)
    restore_state(again, other, state)
    stepped(net, optimizer)
    stepped(other, again)
    assert all(torch.equal(x, y) for x, y in zip(net.parameters(), other.parameters(), strict=True))


def test_eight_bits_without_the_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(MissingExtraError, match="bitsandbytes") as caught:
        build_optimizer(model(), TrainConfig(optimizer="adamw8bit"))
    assert (caught.value.exit_code, caught.value.hint) == (4, f"{pip_line('gpu')}, or train.optimizer=adamw")


def test_the_norm_is_clipped_over_all_gradients():
    net = model()
    net["b"](net["a"](torch.ones(4, 3))).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
    torch.testing.assert_close(clip(net.parameters(), 0.5), expected)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in net.parameters()]).norm(), torch.tensor(0.5))
