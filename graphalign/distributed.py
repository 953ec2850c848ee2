"""One graph over the global batch: rows gathered from every process, with gradients to one's own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def gather(x: Tensor) -> Tensor:
    """Concatenates `x` `(n, ...)` of all processes in rank order; without a process group, returns `x`."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    parts[dist.get_rank()] = x
    return torch.cat(parts)
