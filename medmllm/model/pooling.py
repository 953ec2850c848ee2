r"""Fewer tokens of an image: a tower whose patch embeddings are averaged s x s, and which still is a stock tower.

A stock LLaVA gives the language model one token for each patch of its tower, so a pooling can be saved only as larger
patches. The mean over neighbouring patch embeddings is one: with $W$ the kernel of a patch of $p$ pixels, $b$ its bias
and $e_i$ the position embeddings,

    $\frac{1}{s^2} \sum_{i=1}^{s^2} (W x_i + b + e_i) = [\tfrac{1}{s^2} W, \dots, \tfrac{1}{s^2} W] \, x + b + \bar e$,

which is the kernel of a patch of $s p$ pixels, $W$ repeated over it, with the mean position. Pooling behind the tower's
first layer, behind its last or behind the projector has no such form, and is not offered.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def with_pooled_patches(tower: nn.Module, pool: int, side: int) -> nn.Module:
    """The tower with its patch embeddings averaged over squares of `pool` x `pool`, in place.

    Args:
        tower: CLIP, SigLIP or DINOv2, for images of `side` pixels.
        pool: side of a square, patches; divides the patches of a side.
        side: of an image, pixels.
    """
    if pool == 1:
        return tower
    config: Any = tower.config
    embeddings: Any = getattr(tower, "vision_model", tower).embeddings
    if hasattr(embeddings, "patch_embeddings"):  # DINOv2, which interpolates its positions as it reads
        patches = embeddings.patch_embeddings
        patches.projection = pooled_kernel(patches.projection, pool)
        places = (side // config.patch_size) ** 2
        whole = torch.zeros(1, places + 1, config.hidden_size, dtype=embeddings.position_embeddings.dtype)
        table = embeddings.interpolate_pos_encoding(whole, side, side)[0]
        embeddings.position_embeddings = nn.Parameter(pooled_positions(table, pool)[None])
        patches.num_patches, patches.image_size = places // pool**2, (side, side)
        patches.patch_size = (config.patch_size * pool,) * 2
    else:
        embeddings.patch_embedding = pooled_kernel(embeddings.patch_embedding, pool)
        table = pooled_positions(embeddings.position_embedding.weight, pool)
        embeddings.position_embedding = nn.Embedding.from_pretrained(table, freeze=False)
        embeddings.position_ids = torch.arange(len(table))[None]
        embeddings.num_patches, embeddings.num_positions = (side // config.patch_size // pool) ** 2, len(table)
    embeddings.patch_size = config.patch_size = config.patch_size * pool
    config.image_size = side
    return tower


def pooled_kernel(kernel: nn.Conv2d, pool: int) -> nn.Conv2d:
    """The kernel of a patch embedding over patches `pool` times as large: its mean over the small ones."""
    size = kernel.kernel_size[0] * pool
    made = nn.Conv2d(
        kernel.in_channels, kernel.out_channels, size, size, bias=kernel.bias is not None, dtype=kernel.weight.dtype
    )
    made.weight.copy_(kernel.weight.repeat(1, 1, pool, pool) / pool**2)
    if kernel.bias is not None and made.bias is not None:
        made.bias.copy_(kernel.bias)
    return made


def pooled_positions(table: Tensor, pool: int) -> Tensor:
    """Means of position embeddings, (class token +) n x n rows, over squares; a row for the class token stays."""
    side = int(len(table) ** 0.5)
    first = len(table) - side**2
    grid = table[first:].T.reshape(1, -1, side, side).float()
    return torch.cat([table[:first], F.avg_pool2d(grid, pool)[0].flatten(1).T.to(table.dtype)])
