"""A stock LLaVA with its processor, from scratch or from pretrained parts: nothing in it is a class of our own."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from medmllm.data.chat import Chat
from medmllm.data.chat_template import chat_template
from medmllm.model import architecture as sizes
from medmllm.model.dense import tie
from medmllm.model.hub import image_statistics
from medmllm.model.lora import add_adapters
from medmllm.model.manner import image_processor, wanted_chat, wanted_fit
from medmllm.model.parts import PARTS, train_only
from medmllm.settings.schema import ModelConfig, VisionConfig


def assemble(config: ModelConfig, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlavaForConditionalGeneration:
    """Tower, two-layer projector, language model; random weights are drawn from `seed` alone (global generator
    untouched), pretrained ones are loaded with every key accounted for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(config, sizes.architecture(config, tokenizer))
        tie(model)
        if config.lora.rank:
            add_adapters(model, config.lora)
    model.generation_config = GenerationConfig(do_sample=False, **sizes.marks(tokenizer))
    train_only(model, PARTS)
    return model


def _model(config: ModelConfig, architecture: LlavaConfig) -> LlavaForConditionalGeneration:
    if config.from_scratch and config.vision.pretrained is None:
        return LlavaForConditionalGeneration(architecture)
    from medmllm.model.pretrained import load_model

    llava = load_model(config, architecture)
    _widen(llava.model.multi_modal_projector)
    return llava


def _widen(projector: nn.Module) -> None:
    """Keep the projector in float32: in bfloat16 a small step is lost in rounding. Its input is widened to it."""

    def cast(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].to(next(module.parameters()).dtype), *inputs[1:])

    projector.float().register_forward_pre_hook(cast)


def processor(
    config: ModelConfig, architecture: LlavaConfig, tokenizer: PreTrainedTokenizerFast, chat: Chat | None = None
) -> LlavaProcessor:
    """Images and conversations as the configured model takes them; bicubic resizing, by Pillow.

    Args:
        config: what is wanted.
        architecture: of the model.
        tokenizer: of the model.
        chat: its chat format, where it is known already.
    """
    tower = architecture.vision_config
    strategy = architecture.vision_feature_select_strategy
    patches = architecture.image_seq_length - sizes.tokens_read_before(tower, strategy)
    statistics = image_statistics(config.source or config.vision.pretrained, tower)
    return LlavaProcessor(
        image_processor=image_processor(wanted_fit(config), isqrt(patches) * tower.patch_size, statistics),
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=sizes.prefix_tokens(tower),
        chat_template=chat_template(chat or wanted_chat(config), tokenizer.image_token),
    )


def image_tokens(config: VisionConfig) -> int:
    """Places that one image takes in a sequence."""
    return sizes.architecture(ModelConfig(vision=config), None, sizes=True).image_seq_length


def recompute_activations(model: LlavaForConditionalGeneration) -> None:
    """Turn on gradient checkpointing under the name that this release of transformers gives it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
