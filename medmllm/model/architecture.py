"""A configured model, as transformers' own `LlavaConfig`: sizes, layers read, tokens of an image.

Nothing here holds a weight. Training, planning and loading all start from it.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from medmllm.errors import ConfigError
from medmllm.model.hub import find_config, find_sizes
from medmllm.settings.schema import SCRATCH_SIZE, LanguageConfig, ModelConfig, VisionConfig

TOWERS = ("clip_vision_model", "siglip_vision_model", "dinov2", "dinov2_with_registers")
FAMILY = ("llama", "mistral", "qwen2", "qwen3")  # decoders with LLaMA's layers and names
KEY, VISION_KEY, LANGUAGE_KEY = "model.source", "model.vision.pretrained", "model.language.pretrained"


def architecture(config: ModelConfig, tokenizer: PreTrainedTokenizerFast | None, *, sizes: bool = False) -> LlavaConfig:
    """The model's configuration.

    Args:
        config: what is wanted.
        tokenizer: gives the vocabulary; where it is not here yet, the language model's own and two new tokens.
        sizes: for planning: well-known checkpoints need not be here.

    Raises:
        ConfigError: a checkpoint is not available, or is of a kind that does not fit.
    """
    find = find_sizes if sizes else find_config
    if config.source is not None:
        return _whole(config, find(config.source, KEY))
    text = _text(config.language, tokenizer, find)
    vision = _tower(config.vision, find)
    vocabulary = text.vocab_size if tokenizer is None else max(text.vocab_size, len(tokenizer))
    text.vocab_size = vocabulary if tokenizer is not None or config.from_scratch else vocabulary + 2
    strategy = "default" if prefix_tokens(vision) else "full"
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=text.vocab_size - 1 if tokenizer is None else tokenizer.image_token_id,
        image_seq_length=image_tokens(vision, image_size(config.vision, vision), strategy),
        vision_feature_layer=layers_read(config.vision, vision),
        vision_feature_select_strategy=strategy,
        tie_word_embeddings=bool(getattr(text, "tie_word_embeddings", False)),
    )


def image_size(config: VisionConfig, tower: PreTrainedConfig) -> int:
    """Side of the images that the tower is given, pixels."""
    return config.image_size or tower.image_size


def image_tokens(tower: PreTrainedConfig, side: int, strategy: str) -> int:
    """Places that one image takes in a sequence: its patches, and what the projector reads before them."""
    return (side // tower.patch_size) ** 2 + tokens_read_before(tower, strategy)


def tokens_read_before(tower: PreTrainedConfig, strategy: str) -> int:
    """Tokens before the patches that the projector reads: all by `full`, all but the first by `default`."""
    return prefix_tokens(tower) - (strategy == "default")


def prefix_tokens(tower: PreTrainedConfig) -> int:
    """Tokens before the patches: the class token, and registers where the tower has some."""
    if tower.model_type == "siglip_vision_model":
        return 0
    return 1 + int(getattr(tower, "num_register_tokens", 0))


def layers_read(config: VisionConfig, tower: PreTrainedConfig) -> int | list[int]:
    """Hidden states that the projector reads, as stock LLaVA names them: 0 is the embeddings, -1 the last layer's.

    A dense connector reads several. `sci` takes `feature_layer` and two earlier ones; `dci` takes `feature_layer` and
    all below the top, of which the projector reads means (`medmllm.model.dense`).
    """
    depth = tower.num_hidden_layers
    if not 1 <= abs(config.feature_layer) <= depth:
        raise ConfigError(
            f"the tower has {depth} layers; feature_layer cannot be {config.feature_layer}",
            where="model.vision.feature_layer",
            hint="-1 is the last layer's output, -2 the one before",
        )
    if config.connector == "none":
        return config.feature_layer
    if depth % 2 or depth < 4:
        raise ConfigError(
            f"a dense connector reads halves and thirds of the tower; {depth} layers are too few or not even",
            where="model.vision.connector",
            hint="model.vision.connector=none",
        )
    if config.connector == "sci":
        return [config.feature_layer, depth // 3, 2 * depth // 3]
    return [config.feature_layer, *range(depth)]


def _whole(config: ModelConfig, llava: PreTrainedConfig) -> LlavaConfig:
    if llava.model_type != "llava":
        hint = f"{LANGUAGE_KEY}={config.source} for a language model; exgra convert for weights in LLaVA's first layout"
        raise ConfigError(f"{config.source} is a {llava.model_type}, not a LLaVA of transformers", where=KEY, hint=hint)
    if config.language.pretrained or config.vision.pretrained:
        raise ConfigError("model.source is a whole model; its parts cannot be named beside it", where=KEY)
    if config.vision.image_size not in (None, llava.vision_config.image_size):
        raise ConfigError(
            f"{config.source} reads images of {llava.vision_config.image_size} pixels",
            where="model.vision.image_size",
            hint="leave it out; only a tower under a new projector can be given another size",
        )
    wanted = config.vision.connector
    if wanted != "none" and llava.vision_feature_layer != layers_read(config.vision, llava.vision_config):
        raise ConfigError(
            f"{config.source} has another connector than {wanted}",
            where="model.vision.connector",
            hint="leave it out: a whole model comes with its own",
        )
    vision = _pooled(config.vision, llava.vision_config, llava.vision_config.image_size)
    strategy = llava.vision_feature_select_strategy
    llava.image_seq_length = image_tokens(vision, vision.image_size, strategy)
    return llava


def _text(language: LanguageConfig, tokenizer: PreTrainedTokenizerFast | None, find: Any) -> PreTrainedConfig:
    if language.pretrained is None:
        return _scratch_text(language, tokenizer)
    text = find(language.pretrained, LANGUAGE_KEY)
    if text.model_type not in FAMILY:
        raise ConfigError(
            f"{language.pretrained} is a {text.model_type}, not a language model of the LLaMA family",
            where=LANGUAGE_KEY,
            hint=f"known: {', '.join(FAMILY)}",
        )
    if language.max_length > text.max_position_embeddings:
        raise ConfigError(
            f"{language.pretrained} has {text.max_position_embeddings} positions, fewer than max_length",
            where="model.language.max_length",
            hint=f"model.language.max_length={text.max_position_embeddings}",
        )
    window = getattr(text, "sliding_window", None)
    if window is not None and language.max_length > window and getattr(text, "use_sliding_window", True):
        raise ConfigError(
            f"{language.pretrained} attends within {window} tokens, and packed rows have no such window",
            where="model.language.max_length",
            hint=f"model.language.max_length={window}",
        )
    return text


def _scratch_text(language: LanguageConfig, tokenizer: PreTrainedTokenizerFast | None) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=language.vocab_size if tokenizer is None else len(tokenizer),
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.heads,
        max_position_embeddings=language.max_length,
        initializer_range=language.hidden_size**-0.5,
        **({} if tokenizer is None else marks(tokenizer)),
    )


def marks(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Padding, begin and end of a text."""
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _tower(vision: VisionConfig, find: Any) -> PreTrainedConfig:
    if vision.pretrained is None:
        return _scratch_tower(vision)
    tower = find(vision.pretrained, VISION_KEY)
    tower = getattr(tower, "vision_config", tower)  # CLIP and SigLIP are saved with their text encoders
    if tower.model_type not in TOWERS:
        raise ConfigError(
            f"{vision.pretrained} is a {tower.model_type}, not a tower that a LLaVA can read",
            where=VISION_KEY,
            hint="a CLIP, SigLIP or DINOv2 model",
        )
    side = image_size(vision, tower)
    if side % tower.patch_size:
        near = max(1, side // tower.patch_size) * tower.patch_size
        raise ConfigError(
            f"patches of {tower.patch_size} pixels do not fill an image of {side}",
            where="model.vision.image_size",
            hint=f"model.vision.image_size={near}",
        )
    if not tower.model_type.startswith("dinov2") or vision.pool > 1:  # DINOv2 interpolates, and keeps its own table
        tower.image_size = side
    return _pooled(vision, tower, side)


def _pooled(vision: VisionConfig, tower: PreTrainedConfig, side: int) -> PreTrainedConfig:
    """The tower with patches that are `vision.pool` times as large, which a side must be made of."""
    patches = side // tower.patch_size
    if patches % vision.pool:
        fitting = [n for n in range(1, patches + 1) if patches % n == 0]
        raise ConfigError(
            f"{patches} patches a side cannot be averaged {vision.pool} x {vision.pool}",
            where="model.vision.pool",
            hint=f"one of {', '.join(map(str, fitting))}, or another model.vision.image_size",
        )
    tower.patch_size *= vision.pool
    return tower


def _scratch_tower(vision: VisionConfig) -> CLIPVisionConfig:
    side = vision.image_size or SCRATCH_SIZE
    tower = CLIPVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=4 * vision.hidden_size,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.heads,
        image_size=side,
        patch_size=vision.patch_size,
    )
    return _pooled(vision, tower, side)
