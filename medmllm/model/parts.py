"""The three parts of a LLaVA, and which of them learn."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn
from transformers import LlavaForConditionalGeneration

PARTS = ("vision", "projector", "language")


def train_only(llava: LlavaForConditionalGeneration, parts: Collection[str]) -> None:
    """Let the named parts learn and freeze the rest.

    In a language model with adapters, only these learn. In the tower, only what the projector reads: no gradient
    reaches the layers after, and distributed training stops at a parameter without one.
    """
    llava.requires_grad_(False)
    for part in parts:
        for parameter in _learning(llava, part):
            parameter.requires_grad_(parameter.is_floating_point())


def _learning(llava: LlavaForConditionalGeneration, part: str) -> Iterator[nn.Parameter]:
    model = llava.model
    if part == "vision":
        for module in _read(llava):
            yield from (p for name, p in module.named_parameters() if name != "mask_token")
    elif part == "projector":
        yield from model.multi_modal_projector.parameters()
    else:
        adapters = [p for name, p in model.language_model.named_parameters() if "lora_" in name]
        yield from adapters or (*model.language_model.parameters(), *llava.lm_head.parameters())


def _read(llava: LlavaForConditionalGeneration) -> Iterator[nn.Module]:
    """What comes before the topmost hidden state that the projector reads."""
    tower = llava.model.vision_tower
    layers = getattr(tower.encoder, "layers", None) or tower.encoder.layer  # DINOv2's name
    asked = llava.config.vision_feature_layer
    tops = [
        layer if layer >= 0 else len(layers) + 1 + layer for layer in ([asked] if isinstance(asked, int) else asked)
    ]
    yield tower.embeddings
    if hasattr(tower, "pre_layrnorm"):  # CLIP's spelling
        yield tower.pre_layrnorm
    yield from layers[: max(tops)]
