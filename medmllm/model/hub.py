"""Finding what a configuration names: a folder, or an id in the hub's cache, or on the hub where there is a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.image_processing_base import ImageProcessingMixin

from medmllm.data.tokenizer import IMAGE
from medmllm.errors import ConfigError
from medmllm.model.known import KNOWN
from medmllm.model.slow_tokenizer import is_slow, read_slow_tokenizer
from medmllm.model.smollm2 import NAME as SMOLLM2
from medmllm.model.smollm2 import folder as smollm2_folder


@contextmanager
def found(name: str, key: str) -> Iterator[None]:
    """Turns "not there" of any library into one message with the line that fetches it."""
    try:
        yield
    except OSError as error:
        if error.errno:  # a full disk, a file that may not be read
            raise
        if Path(name).is_dir():
            raise ConfigError(
                f"the folder {name} holds no checkpoint that can be read: {first_line(error)}",
                where=key,
                hint="name a folder with config.json, tokenizer and weights",
            ) from error
        folder = name.rpartition("/")[2]
        raise ConfigError(
            f"{name} is neither a folder nor in the cache of the hub, and it cannot be downloaded from here",
            where=key,
            hint=f"where there is a network: hf download {name} --local-dir {folder}; then {key}={folder}",
        ) from error


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def place(name: str) -> str:
    """Where libraries find a checkpoint of this name."""
    return str(smollm2_folder() if name == SMOLLM2 else Path(name).expanduser()) if local(name) else name


def local(name: str) -> bool:
    return name == SMOLLM2 or Path(name).expanduser().is_dir()


def find_config(name: str, key: str) -> PreTrainedConfig:
    """A checkpoint's configuration.

    Raises:
        ConfigError: it is nowhere to be found; the hint is the line that downloads it.
    """
    if local(name) and not Path(place(name), "config.json").is_file():
        hint = "name a folder with config.json, tokenizer and weights"
        raise ConfigError(f"the folder {name} holds no config.json", where=key, hint=hint)
    with found(name, key):
        return AutoConfig.from_pretrained(place(name))


def find_sizes(name: str, key: str) -> PreTrainedConfig:
    """As `find_config`, for planning: of a well-known checkpoint that is not here, the sizes are known all the same."""
    if name in KNOWN and not Path(name).is_dir():
        return AutoConfig.for_model(**KNOWN[name])
    return find_config(name, key)


def find_tokenizer(name: str, key: str, image_token: str = IMAGE, *, spare: str = "") -> PreTrainedTokenizerFast:
    """A checkpoint's tokenizer, with a token for images: its own, or a new one of the given name.

    Of a SentencePiece model the new token can take the id of a `spare` one, which no text holds.
    """
    with found(name, key):
        if is_slow(place(name)):
            return read_slow_tokenizer(place(name), image_token, spare=spare)
        tokenizer = AutoTokenizer.from_pretrained(place(name))
        if getattr(tokenizer, "image_token", None) is None:
            tokenizer = AutoTokenizer.from_pretrained(place(name), extra_special_tokens={"image_token": image_token})
    return tokenizer


def find_processor(name: str | Path, key: str) -> LlavaProcessor:
    """A LLaVA's processor, whose images Pillow prepares also where torchvision is installed: it gives other pixels."""
    with found(str(name), key):
        return AutoProcessor.from_pretrained(place(str(name)), backend="pil")


def image_statistics(name: str | None, tower: PreTrainedConfig) -> dict[str, list[float]]:
    """Mean and deviation of a channel that a pretrained tower wants: from its own file, or those of its kind.

    Empty for towers that are used to CLIP's, which the processor has by itself.
    """
    kind = STATISTICS.get(tower.model_type, {})
    if name is None or name == SMOLLM2:
        return kind
    try:
        own, _ = ImageProcessingMixin.get_image_processor_dict(place(name))
    except OSError:
        return kind
    return {key: own[key] for key in ("image_mean", "image_std") if key in own} or kind


STATISTICS = {
    "siglip_vision_model": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "dinov2": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
}
STATISTICS["dinov2_with_registers"] = STATISTICS["dinov2"]
