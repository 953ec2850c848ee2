"""Another image size for a pretrained tower: its position embeddings, interpolated to the new grid of patches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig


def with_image_size(tower: nn.Module, wanted: PreTrainedConfig) -> nn.Module:
    """The tower, ready for images of `wanted.image_size`.

    DINOv2 interpolates by itself as it reads; CLIP and SigLIP have a table of positions, which is replaced.
    """
    config: Any = tower.config
    if config.image_size == wanted.image_size or config.model_type.startswith("dinov2"):
        return tower
    embeddings: Any = getattr(tower, "vision_model", tower).embeddings
    side = wanted.image_size // config.patch_size
    table = interpolated(embeddings.position_embedding.weight.detach(), side)
    embeddings.position_embedding = nn.Embedding.from_pretrained(table, freeze=False)
    embeddings.position_ids = torch.arange(len(table))[None]
    embeddings.num_patches, embeddings.num_positions = side**2, len(table)
    embeddings.image_size = config.image_size = wanted.image_size
    return tower


def interpolated(table: Tensor, side: int) -> Tensor:
    """Positions of a square grid, (class token +) n x n rows, for a grid of `side` x `side`: bicubic, corners apart.

    A row for the class token stays as it is; it stands first where the count is one more than a square.
    """
    old = int(len(table) ** 0.5)
    first = len(table) - old**2
    grid = table[first:].T.reshape(1, -1, old, old).float()
    new = F.interpolate(grid, (side, side), mode="bicubic", antialias=side < old, align_corners=False)
    return torch.cat([table[:first], new[0].flatten(1).T.to(table.dtype)])
