"""Causal attention inside each segment of a packed row, with no package beyond torch.

Registered with transformers as ``segments``. No mask is ever built: on a GPU in half precision the bounds go to torch's
variable-length attention (its kernels want compute capability 8.0 and heads of a multiple of 8), elsewhere each segment
is attended to on its own; cost grows with the sum of squared lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "segments"


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    bounds: Tensor,
    longest: int,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attention of a packed row.

    Args:
        module: the attention layer (gives the number of key-value groups).
        query: (1, heads, T, d).
        key: (1, key-value heads, T, d).
        value: as `key`.
        attention_mask: must be absent: a mask would be a second opinion about who sees whom.
        scaling: factor of the scores; $1/\\sqrt{d}$ where None.
        dropout: share of attention weights dropped.
        bounds: (segments + 1,) int32 cumulative lengths.
        longest: longest segment.
        unused: arguments meant for other attention functions.

    Returns:
        (1, T, heads, d) and None, as transformers expects.
    """
    if attention_mask is not None:
        raise ValueError("packed rows carry their bounds; an attention mask is not accepted beside them")
    if dropout == 0 and (half := _half(query)):
        found = _on_gpu(query.to(half), key.to(half), value.to(half), bounds, longest, scaling)
        return found.to(query.dtype), None
    return _one_by_one(query, key, value, bounds, scale=scaling, dropout_p=dropout), None


def _half(query: Tensor) -> torch.dtype | None:
    """The half precision in which the GPU attends; None where torch's kernels for it do not apply.

    Under autocast queries come in float32, for the rotation by position widens them; they are narrowed again.
    """
    if not query.is_cuda or query.shape[-1] % 8 or torch.cuda.get_device_capability(query.device) < (8, 0):
        return None
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
    return dtype if dtype in (torch.float16, torch.bfloat16) else None


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, **options: Any) -> Tensor:
    """Each segment by itself, in single precision at least.

    On a CPU, torch's backward pass in bfloat16 took 5.5 times as long as in float32 (four heads of 70 tokens).
    """
    dtype, grouped, lengths = query.dtype, query.shape[1] != key.shape[1], bounds.diff().tolist()
    wide = (x.to(torch.promote_types(dtype, torch.float32)).split(lengths, 2) for x in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        attended = [
            F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped, **options)
            for q, k, v in zip(*wide, strict=True)
        ]
    return torch.cat(attended, 2).transpose(1, 2).to(dtype)


def _on_gpu(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))
    k, v = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k, v))
    out: Any = varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=(-1, 0), scale=scaling)
    return out[None]


AttentionInterface.register(NAME, segment_attention)


def attend_by_segments(language_model: nn.Module) -> None:
    """Make the language model attend by segments from now on.

    Not a context around the forward pass: gradient checkpointing runs the layers again in the backward pass, and must
    find the same attention there.
    """
    config: Any = language_model.config
    config._attn_implementation = NAME


@contextmanager
def padded_attention(language_model: nn.Module) -> Iterator[None]:
    """Inside, the language model attends with padding masks, as generation needs; afterwards as before."""
    config: Any = language_model.config
    before = config._attn_implementation
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before
