"""How the model is spread over processes (DDP, FSDP2), and its gradients over them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from medmllm.model.aligned import AlignedLlava
from medmllm.settings.schema import Config, EngineConfig


def open_accelerator(config: Config) -> Accelerator:
    """Device, precision and process group of this process; torchrun's variables say which of how many it is."""
    AcceleratorState._reset_state(True)  # a second run in one process may want another precision
    precision = {"fp32": "no"}.get(config.train.precision, config.train.precision)
    return Accelerator(cpu=config.device == "cpu", mixed_precision=precision)


def place_model(model: AlignedLlava, config: Config, device: torch.device) -> nn.Module:
    """What reads the batches, on its device, or cut into shards over all processes (FSDP2, in place).

    FSDP is applied here, not by accelerate, whose plugin silently becomes DDP on a CPU: so what the tests
    prove on two CPU processes is what runs on GPUs.
    """
    model.alignment.to(device)
    if config.engine.compile:
        compile_layers(model.packed)
    if config.engine.strategy == "fsdp":
        offload = config.engine.offload and device.type != "cpu"  # on a CPU they lie in its memory anyway
        return _shard(model.packed, config.train.precision, CPUOffloadPolicy() if offload else OffloadPolicy())
    return model.packed.to(device)


def replicate(model: nn.Module, engine: EngineConfig) -> nn.Module:
    """The model as it is called in training; with `ddp` and several processes it exchanges gradients.

    Made again in every stage: the exchange is fixed to the parameters that learn when it is made.
    """
    several = dist.is_initialized() and dist.get_world_size() > 1
    if engine.strategy == "fsdp" or not several or not any(p.requires_grad for p in model.parameters()):
        return model
    return DistributedDataParallel(model, broadcast_buffers=False)


def release(model: nn.Module) -> None:
    """Take the process group from the meshes of a sharded model, which learns no more: torch's caches keep those."""
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            parameter.device_mesh._pg_registry.clear()


def compile_layers(model: nn.Module) -> None:
    """Compile each layer of every stack in place; lengths vary, so shapes are dynamic."""
    for module in _stacks(model):
        for layer in module:
            layer.compile(dynamic=True)


def _shard(model: nn.Module, precision: str, offload: OffloadPolicy) -> nn.Module:
    """Every layer of a stack is a unit that is gathered when it runs; the rest is one more."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=None if half is None else torch.float32)
    for module in _stacks(model):
        for layer in module:
            fully_shard(layer, mp_policy=policy, offload_policy=offload)
    fully_shard(model, mp_policy=policy, offload_policy=offload)
    return model


def reduce_gradients(model: nn.Module, on: bool) -> None:
    """Whether the next backward pass exchanges gradients; the last pass of a step does it for all of them."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = on
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(on)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average gradients that are equal except for rounding, so that rounding never drives processes apart."""
    if dist.is_initialized():
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()


def clip(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale all gradients so that their norm is at most `largest`; the norm that it was. Takes shards too."""
    found = [p for p in parameters if p.grad is not None]
    kinds = [[p for p in found if isinstance(p.grad, DTensor) is sharded] for sharded in (True, False)]
    norms = [
        whole(torch.nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds if kind
    ]
    norm = norms[0] if len(norms) == 1 else torch.stack([n.to(norms[0].device) for n in norms]).norm()
    for kind in kinds:
        torch.nn.utils.clip_grads_with_norm_(kind, largest, norm)
    return norm


def whole(x: Tensor) -> Tensor:
    """A sharded tensor as a plain one, the same on every process; others as they are."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def _stacks(model: nn.Module) -> list[nn.ModuleList]:
    """The stacks of layers: the tower's and the language model's."""
    return [module for module in model.modules() if isinstance(module, nn.ModuleList)]
