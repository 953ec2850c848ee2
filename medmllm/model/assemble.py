"""A stock LLaVA from sizes, with its processor: nothing in it is a class of our own."""

from __future__ import annotations

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from medmllm.config import ModelConfig, VisionConfig
from medmllm.data.conversation import CHAT_TEMPLATE
from medmllm.model.parts import PARTS, train_only


def assemble(config: ModelConfig, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlavaForConditionalGeneration:
    """CLIP-style tower, two-layer projector, LLaMA; weights drawn from `seed` alone (global generator untouched)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(_llava(config, tokenizer))
    model.generation_config = _generation(tokenizer)
    train_only(model, PARTS)
    return model


def processor(config: VisionConfig, tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Images to a square by bicubic resizing (the Pillow processor, pinned: torchvision's gives other pixels)."""
    square = {"height": config.image_size, "width": config.image_size}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square),
        tokenizer=tokenizer,
        patch_size=config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def image_tokens(config: VisionConfig) -> int:
    """Places that one image takes in a sequence: its patches."""
    return (config.image_size // config.patch_size) ** 2


def _llava(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    return LlavaConfig(
        vision_config=_tower(config.vision),
        text_config=_language(config, tokenizer),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=image_tokens(config.vision),
        vision_feature_layer=config.vision.feature_layer,
    )


def _tower(vision: VisionConfig) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=4 * vision.hidden_size,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.heads,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
    )


def _language(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    language = config.language
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.heads,
        max_position_embeddings=language.max_length,
        initializer_range=language.hidden_size**-0.5,
        **_marks(tokenizer),
    )


def _marks(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _generation(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(do_sample=False, **_marks(tokenizer))


def recompute_activations(model: LlavaForConditionalGeneration) -> None:
    """Turns on gradient checkpointing under the name that this release of transformers gives it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
