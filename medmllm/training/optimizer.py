"""The optimiser of a run, and its state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphalign.extras import pip_line
from medmllm.errors import MissingExtraError
from medmllm.settings.schema import TrainConfig

BETAS = (0.9, 0.98)


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over every parameter (those without a gradient are passed over); biases and norms are not decayed.

    Each part of the model has groups of its own, since shards and plain tensors cannot be updated in one call. On GPUs
    the update is one fused kernel.

    Raises:
        MissingExtraError: `train.optimizer=adamw8bit` without bitsandbytes.
    """
    groups = [group for part in model.children() for group in _groups(part, config.weight_decay)]
    if config.optimizer == "adamw8bit":
        return _eight_bit(groups, config.lr)
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=config.lr, betas=BETAS, fused=fused)


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter and name, as in `packed.llava.lm_head.weight:exp_avg`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {f"{names[p]}:{key}": x for p, state in optimizer.state.items() for key, x in state.items()}


def restore_state(optimizer: torch.optim.Optimizer, model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Take up what `named_state` gave; parameters that it does not name start without moments."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, value in saved.items():
        name, _, field = key.rpartition(":")
        optimizer.state.setdefault(parameters[name], {})[field] = value


def _groups(part: nn.Module, decay: float) -> list[dict[str, Any]]:
    parameters = list(part.parameters())
    matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _eight_bit(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise MissingExtraError(
            "the optimiser adamw8bit needs bitsandbytes, which is not installed",
            where="train.optimizer",
            hint=f"{pip_line('gpu')}, or train.optimizer=adamw",
        ) from error
    return AdamW8bit(groups, lr=lr, betas=BETAS)
