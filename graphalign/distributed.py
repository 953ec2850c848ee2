"""One graph over the global batch: features from all processes, with the gradient of the own ones."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def gather(x: Tensor) -> Tensor:
    r"""Returns the rows of all processes in the order of their ranks, `(W n, ...)`.

    The own rows are the live tensor, so gradients flow to them; those of the others are constants. Every process then
    computes the same global loss and differentiates it by its own rows only. As data-parallel training averages the
    gradients over $W$ processes, multiply the loss by $W$ (`world_size()`) to get the gradient of the global loss.

    With one process, or without an initialised process group, `x` itself is returned.

    Args:
        x: `(n, ...)`, of the same shape on every process.

    Raises:
        ValueError: The shapes differ between processes.
    """
    if world_size() == 1:
        return x
    _check_shapes(x)
    slots = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(slots, x.detach().contiguous())
    slots[dist.get_rank()] = x
    return torch.cat(slots)


def world_size() -> int:
    """Returns the number of processes, 1 without an initialised process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _check_shapes(x: Tensor) -> None:
    shapes: list[tuple[int, ...]] = [()] * world_size()
    dist.all_gather_object(shapes, tuple(x.shape))
    if len(set(shapes)) > 1:
        raise ValueError(f"gather needs the same shape on every process; got {shapes}. Drop the last, smaller batch.")
