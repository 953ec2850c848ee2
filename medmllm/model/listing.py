"""What `model.*` takes, for lists: families and what the tests load of each, known sizes, presets that use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
)

from medmllm.model.architecture import FAMILY, KEY, LANGUAGE_KEY, TOWERS, VISION_KEY
from medmllm.model.known import KNOWN
from medmllm.settings.load import load_config, presets
from medmllm.settings.schema import ModelConfig

TINY = "tiny random weights"
REAL = "smollm2, tiny random weights"


def families() -> list[dict[str, str]]:
    """Kinds of checkpoint by the setting that takes them, and with which weights the tests have loaded each."""
    kinds = {LANGUAGE_KEY: FAMILY, VISION_KEY: TOWERS, KEY: ("llava",)}
    return [
        {"key": key, "family": family, "tested_with": REAL if family == "llama" else TINY}
        for key, members in kinds.items()
        for family in members
    ]


def known_models() -> list[dict[str, Any]]:
    """Checkpoints whose sizes are known without them: sizes, parameters, and the presets that name them.

    Cost: each is made once on the meta device, without memory for weights.
    """
    used = {name: load_config(name).model for name in presets()}
    return [_described(name, [preset for preset, model in used.items() if name in _named(model)]) for name in KNOWN]


def _described(name: str, users: list[str]) -> dict[str, Any]:
    config = AutoConfig.for_model(**KNOWN[name])
    with torch.device("meta"):
        model = _model(config)
    return {
        "name": name,
        "key": _key(config.model_type),
        "family": config.model_type,
        "parameters": sum(p.numel() for p in model.parameters()),
        "sizes": dict(_sizes(config)),
        "presets": users,
    }


def _model(config: PreTrainedConfig) -> nn.Module:
    kinds = {KEY: LlavaForConditionalGeneration, LANGUAGE_KEY: AutoModelForCausalLM.from_config}
    made: nn.Module = kinds.get(_key(config.model_type), AutoModel.from_config)(config)
    return made


def _key(family: str) -> str:
    """The setting that takes a family."""
    return KEY if family == "llava" else LANGUAGE_KEY if family in FAMILY else VISION_KEY


def _sizes(config: PreTrainedConfig) -> Iterator[tuple[str, int]]:
    """Layers and width of a part, and what it reads; of a whole model, those of its language model and its images."""
    text = getattr(config, "text_config", config)
    yield "layers", text.num_hidden_layers
    yield "width", text.hidden_size
    tower = getattr(config, "vision_config", config)
    if hasattr(tower, "image_size"):
        yield "image_size", tower.image_size
        yield "patch_size", tower.patch_size
    if hasattr(text, "vocab_size"):
        yield "vocabulary", text.vocab_size
        yield "positions", text.max_position_embeddings


def _named(config: ModelConfig) -> set[str | None]:
    return {config.source, config.language.pretrained, config.vision.pretrained}
