"""One graph over the global batch: features from all processes, with the gradient of the own ones."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def gather(x: Tensor, *, averaged: bool = False) -> Tensor:
    r"""Return the rows of all processes in the order of their ranks, `(W n, ...)`.

    This process's rows keep their gradient; those of the others are constants. Every process then
    computes the same global loss and differentiates it by its own rows only, and the sum over the $W$ processes is the
    gradient of the global loss. Data-parallel training averages instead of summing. With `averaged=True` the gradient
    that flows back into the own rows is multiplied by $W$, so that the average is right for what made the rows, and for
    the loss's own weights too, whose gradient is whole on every process. (Without weights in the loss, multiplying the
    loss by `world_size()` does the same.)

    With one process, or without an initialised process group, `x` itself is returned.

    Args:
        x: `(n, ...)`, of the same shape on every process: features, or labels and masks, which have no gradient.
        averaged: Whether gradients of weights are averaged over processes afterwards.

    Raises:
        ValueError: The shapes differ between processes.

    Example:
        >>> import torch
        >>> gather(torch.ones(2))  # one process: nothing to gather
        tensor([1., 1.])
    """
    if world_size() == 1:
        return x
    _check_shapes(x)
    slots = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(slots, x.detach().contiguous())
    slots[dist.get_rank()] = _amplified(x) if averaged else x
    return torch.cat(slots)


def gather_tokens(x: Tensor, mask: Tensor | None = None, *, averaged: bool = False) -> tuple[Tensor, Tensor]:
    """Return the tokens of all processes, padded to the longest, `(W n, t, d)`, and which are real, `(W n, t)`.

    Args:
        x: Tokens `(n, t, d)`; `t` may differ between processes.
        mask: Bool `(n, t)`, True at real tokens; None if all are.
        averaged: As in `gather`.

    Raises:
        ValueError: The number of samples or the width differs between processes.

    Example:
        >>> import torch
        >>> tokens, real = gather_tokens(torch.ones(2, 3, 4))
        >>> tuple(tokens.shape), tuple(real.shape)
        ((2, 3, 4), (2, 3))
    """
    real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    if world_size() == 1:
        return x, real
    longest = torch.tensor(x.shape[1], device=x.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    extra = int(longest) - x.shape[1]
    return gather(F.pad(x, (0, 0, 0, extra)), averaged=averaged), gather(F.pad(real, (0, extra)))


def world_size() -> int:
    """Return the number of processes, 1 without an initialised process group.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _amplified(x: Tensor) -> Tensor:
    """The same tensor, with its gradient multiplied by the number of processes."""
    same, world = x.view_as(x), world_size()
    if same.requires_grad:
        same.register_hook(lambda grad: world * grad)  # type: ignore[no-untyped-call]
    return same


def _check_shapes(x: Tensor) -> None:
    shapes: list[tuple[int, ...]] = [()] * world_size()
    dist.all_gather_object(shapes, tuple(x.shape))
    if len(set(shapes)) > 1:
        raise ValueError(f"gather needs the same shape on every process; got {shapes}; drop the last, smaller batch")
