"""Processes: who they are, what they tell each other, and how a failure of one becomes a failure of all."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from medmllm.errors import ElsewhereError, RunError


@dataclass(frozen=True)
class Process:
    """This process: `rank` of `world`."""

    rank: int = 0
    world: int = 1


def process() -> Process:
    """Which process this is; the first of one outside a process group."""
    return Process(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Process()


def launched_rank() -> int | None:
    """The rank that a launcher such as torchrun gave this process; None where there was none."""
    given = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    return int(os.environ["RANK"]) if given else None


def lost_peer(error: BaseException) -> bool:
    """Whether the error says no more than that another process has ended."""
    known = (dist.DistBackendError, dist.DistNetworkError)
    return isinstance(error, known) or "by peer" in str(error)


@contextmanager
def process_group(*, alone: bool = False) -> Iterator[None]:
    """Open the group that torchrun's variables name, unless there is one, and close it again.

    After each exchange a thread of gloo needs the interpreter once more. One that is late on a busy machine asks for it
    when Python is already ending, and Python then aborts the process. The threads end with the last reference to the
    group, so what holds it is dropped before: cycles of objects, and the local variables in the traceback of an error.

    Args:
        alone: where nothing was launched, open a group of this process alone: FSDP2 shards over a group only.
    """
    launched = launched_rank() is not None
    opened = (launched or alone) and not dist.is_initialized()
    if opened:
        store = dist.HashStore()  # type: ignore[attr-defined]
        single: dict[str, Any] = {} if launched else {"store": store, "rank": 0, "world_size": 1}
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", **single)
    try:
        yield
    except BaseException as error:
        if opened:
            _forget_locals(error)
        raise
    finally:
        if opened and dist.is_initialized():
            gc.collect()
            dist.destroy_process_group()


def _forget_locals(error: BaseException) -> None:
    """Drop the local variables in the tracebacks of an error and of those before it."""
    last: BaseException | None = error
    while last is not None:
        traceback.clear_frames(last.__traceback__)
        last = last.__cause__ or last.__context__


def summed(x: Tensor) -> Tensor:
    """The sum over processes, detached."""
    x = x.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether the flag is up in any process: what one must do, all do."""
    return bool(summed(torch.tensor(float(flag), device=device)) > 0)


def told_by_first(value: Any) -> Any:
    """What process 0 has, in all."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values, src=0)
    return values[0]


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """The work inside fails in all processes or in none; process 0 tells what went wrong, and where."""
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # whatever it is, the others must hear of it
        error = caught
    if not anywhere(error is not None, device):
        return
    told = gathered_objects(error and (str(error), getattr(error, "where", ""), getattr(error, "hint", "")))
    first = next(number for number, message in enumerate(told) if message)
    if error is not None and first == process().rank == 0:
        raise error
    message, where, hint = told[first]
    raise (RunError if process().rank == 0 else ElsewhereError)(f"Process {first}: {message}", where=where, hint=hint)


def gathered_objects(value: Any) -> list[Any]:
    """Everybody's plain value, by rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
