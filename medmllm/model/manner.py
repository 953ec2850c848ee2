"""How a model is spoken to and shown images: as its checkpoint says, unless the configuration asks otherwise."""

from __future__ import annotations

from typing import Any, Literal

from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil

from medmllm.data.chat import CHATS, Chat
from medmllm.data.chat_template import chat_of
from medmllm.errors import ConfigError
from medmllm.model.architecture import KEY
from medmllm.model.hub import find_processor
from medmllm.settings.schema import ModelConfig

Fit = Literal["squash", "pad", "crop"]


def wanted_chat(config: ModelConfig) -> Chat:
    """The chat format of a configured model: that of `model.source` where `model.language.chat` is null.

    Raises:
        ConfigError: the format of the source is not known, and none is requested.
    """
    asked = config.language.chat
    if config.source is None:
        return CHATS[asked or "vicuna"]
    processor = find_processor(config.source, KEY)
    own = chat_of(processor) or chat_of(processor, first_question=True)
    if asked is None and own is None:
        raise ConfigError(
            f"the chat template of {config.source} writes none of the known formats",
            where="model.language.chat",
            hint=f"name the format that training rows are to have: {', '.join(CHATS)}",
        )
    if own is None or asked is None:
        return own or CHATS[str(asked)]
    other = CHATS[asked]
    return own if own.name == asked else other.marked() if own == CHATS[own.name].marked() else other


def wanted_fit(config: ModelConfig) -> Fit:
    """How images of a configured model are made square: as `model.source` does where `model.vision.fit` is null.

    Raises:
        ConfigError: the source does something else, and nothing is requested.
    """
    if config.vision.fit is not None or config.source is None:
        return config.vision.fit or "squash"
    own = fit_of(find_processor(config.source, KEY).image_processor)
    if own is None:
        raise ConfigError(
            f"the image processor of {config.source} makes images square in a way that is not known",
            where="model.vision.fit",
            hint="name one: model.vision.fit=crop, pad or squash",
        )
    return own


def fit_of(images: Any) -> Fit | None:
    """How an image processor treats an image that is not square; None for another way."""
    size = images.size if isinstance(images.size, dict) else vars(images.size)
    if getattr(images, "do_pad", False):
        return "pad"
    if size.get("shortest_edge") and images.do_center_crop:
        return "crop"
    return "squash" if size.get("height") and size.get("height") == size.get("width") else None


def image_processor(fit: Fit, side: int, statistics: dict[str, list[float]]) -> Any:
    """What prepares images, as stock transformers does from its saved form; always with Pillow.

    Args:
        fit: `squash` resizes both sides; `pad` fills up to a square with the mean colour, the image in the middle;
            `crop` resizes the shorter side and takes the middle.
        side: of the square, pixels.
        statistics: mean and deviation of each channel, where not CLIP's.
    """
    square = {"height": side, "width": side}
    if fit == "squash":
        return CLIPImageProcessorPil(size=square, crop_size=square, **statistics)
    kind = {"pad": LlavaImageProcessorPil, "crop": CLIPImageProcessorPil}[fit]
    padded = {"do_pad": True} if fit == "pad" else {}
    return kind(size={"shortest_edge": side}, crop_size=square, **padded, **statistics)
