"""Impossible settings of a model, reported before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from graphalign.extras import pip_line
from medmllm.errors import ConfigError, MissingExtraError
from medmllm.settings.schema import SCRATCH_SIZE, LanguageConfig, ModelConfig, VisionConfig


def check_model(config: ModelConfig) -> int:
    """Refuse sizes that do not fit and checkpoints that are not available; return the language model's layers.

    Raises:
        ConfigError: what is wrong, with the key and the nearest right value.
    """
    if config.quantize == "4bit" and not config.lora.rank:
        raise ConfigError(
            "weights of four bits cannot learn; only adapters beside them can",
            where="model.quantize",
            hint="model.lora.rank=16",
        )
    if config.quantize == "4bit" and config.language.pretrained is None:
        raise ConfigError(
            "model.quantize is for a pretrained language model, named in model.language.pretrained",
            where="model.quantize",
            hint="model.quantize=none",
        )
    if config.source is None and config.vision.pretrained is None:
        _check_tower(config.vision)
    if config.from_scratch:
        _check_language(config.language)
    if config.from_scratch and config.vision.pretrained is None and config.projector is None:
        return config.language.layers
    from medmllm.model.architecture import architecture

    layers: int = architecture(config, None, sizes=True).text_config.num_hidden_layers
    return layers


def check_packages(config: ModelConfig) -> None:
    """Raise MissingExtraError where a package of an extra is needed and missing."""
    if config.quantize == "4bit" and find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "model.quantize=4bit needs the package bitsandbytes, which is not installed",
            where="model.quantize",
            hint=pip_line("gpu"),
        )


def check_trackers(names: Sequence[str]) -> None:
    """Raise MissingExtraError for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(
                f"engine.track={name} needs the package {name}, which is not installed",
                where="engine.track",
                hint=pip_line("track" if name == "tensorboard" else "trackers"),
            )


def _check_tower(vision: VisionConfig) -> None:
    _divides(vision.patch_size, vision.image_size or SCRATCH_SIZE, "model.vision", "patch_size", "image_size")
    _divides(vision.heads, vision.hidden_size, "model.vision", "heads", "hidden_size")
    if not 1 <= abs(vision.feature_layer) <= vision.layers:
        raise ConfigError(
            f"the tower has {vision.layers} layers; feature_layer cannot be {vision.feature_layer}",
            where="model.vision.feature_layer",
            hint="-1 is the last layer's output, -2 the one before",
        )


def _check_language(language: LanguageConfig) -> None:
    _divides(language.heads, language.hidden_size, "model.language", "heads", "hidden_size")
    if (language.hidden_size // language.heads) % 2:
        raise ConfigError(
            f"rotary positions need an even width per head (got {language.hidden_size} / {language.heads})",
            where="model.language.heads",
            hint=f"model.language.hidden_size={2 * language.hidden_size}",
        )


def _divides(part: int, whole: int, section: str, part_name: str, whole_name: str) -> None:
    if whole % part:
        raise ConfigError(
            f"{part_name} must divide {whole_name} (got {part} and {whole})",
            where=f"{section}.{part_name}",
            hint=f"{section}.{part_name}={next(p for p in range(part, 0, -1) if whole % p == 0)}",
        )
