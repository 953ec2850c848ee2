"""The three parts of a LLaVA, and which of them learn."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn
from transformers import LlavaForConditionalGeneration

PARTS = ("vision", "projector", "language")


def train_only(llava: LlavaForConditionalGeneration, parts: Collection[str]) -> None:
    """Lets the named parts learn and freezes the rest.

    Tower layers after the one that the projector reads stay frozen: no gradient reaches them, and distributed training
    stops at a parameter without one.
    """
    for name, modules in _modules(llava).items():
        for module in modules:
            module.requires_grad_(name in parts)
    for module in _unread(llava):
        module.requires_grad_(False)


def _modules(llava: LlavaForConditionalGeneration) -> dict[str, tuple[nn.Module, ...]]:
    model = llava.model
    return {
        "vision": (model.vision_tower,),
        "projector": (model.multi_modal_projector,),
        "language": (model.language_model, llava.lm_head),
    }


def _unread(llava: LlavaForConditionalGeneration) -> Iterator[nn.Module]:
    tower = llava.model.vision_tower
    layers = tower.encoder.layers
    last = llava.config.vision_feature_layer
    yield tower.post_layernorm
    yield from layers[last if last >= 0 else len(layers) + 1 + last :]
