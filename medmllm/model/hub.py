"""Finding what a configuration names: a folder, or an id in the hub's cache, or on the hub where there is a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    LlamaTokenizer,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.image_processing_base import ImageProcessingMixin

from medmllm.data.tokenizer import IMAGE
from medmllm.errors import ConfigError, UserError
from medmllm.model.known import KNOWN
from medmllm.model.network import reaching
from medmllm.model.slow_tokenizer import is_slow, read_slow_tokenizer
from medmllm.model.smollm2 import NAME as SMOLLM2
from medmllm.model.smollm2 import folder as smollm2_folder
from medmllm.model.stored import stored_file, stored_json
from medmllm.run.checksums import check_checksums

# Model type in LLaVA's first layout -> that of its language model.
FIRST_LAYOUT = {"llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral", "llama": "llama"}


@contextmanager
def found(name: str, key: str) -> Iterator[None]:
    """Turn "not there" of any library into one message with the line that fetches it; at once without a network."""
    try:
        with reaching(place(name)):
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
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged files raise nearly anything
        if not Path(name).is_dir():
            raise
        raise ConfigError(
            f"the checkpoint in {name} cannot be read: {first_line(error)}",
            where=key,
            hint="its files do not belong together, or are damaged: copy or save them again",
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
    if is_original(stored_json(place(name), "config.json")):
        raise ConfigError(
            f"{name} is in the layout of LLaVA's own code, not in that of transformers",
            where=key,
            hint=f"exgra convert {name} stock; then {key}=stock",
        )
    with found(name, key):
        return AutoConfig.from_pretrained(place(name))


def is_original(raw: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is of LLaVA's first layout."""
    return raw.get("model_type") in FIRST_LAYOUT and "mm_vision_tower" in raw


def find_sizes(name: str, key: str) -> PreTrainedConfig:
    """As `find_config`, for planning: of a well-known checkpoint that is not here, the sizes are still known."""
    if name in KNOWN and not Path(name).is_dir():
        return AutoConfig.for_model(**KNOWN[name])
    return find_config(name, key)


def find_tokenizer(name: str, key: str, image_token: str = IMAGE, *, spare: str = "") -> PreTrainedTokenizerFast:
    """A checkpoint's tokenizer, with a token for images: its own, or a new one of the given name.

    Of a SentencePiece model the new token can take the id of a `spare` one, which no text holds.
    """
    check_checksums(Path(place(name)))
    with found(name, key):
        if is_slow(place(name)):
            return read_slow_tokenizer(place(name), image_token, spare=spare)
        tokenizer = _open_tokenizer(place(name))
        if getattr(tokenizer, "image_token", None) is None:
            tokenizer = _open_tokenizer(place(name), extra_special_tokens={"image_token": image_token})
    return tokenizer


def find_processor(name: str | Path, key: str) -> LlavaProcessor:
    """A LLaVA's processor, whose images Pillow prepares also where torchvision is installed: it gives other pixels."""
    where = place(str(name))
    with found(str(name), key):
        processor = AutoProcessor.from_pretrained(where, backend="pil")
        if isinstance(processor.tokenizer, LlamaTokenizer):
            processor.tokenizer = _open_tokenizer(where)
    return processor


def _open_tokenizer(where: str, **more: Any) -> PreTrainedTokenizerFast:
    """A tokenizer as its `tokenizer.json` has it.

    transformers 5 reads no more than vocabulary and merges of a LLaMA's, and puts the space before the first word
    elsewhere than the file says.
    """
    tokenizer = AutoTokenizer.from_pretrained(where, **more)
    if isinstance(tokenizer, LlamaTokenizer) and stored_file(where, "tokenizer.json") is not None:
        return PreTrainedTokenizerFast.from_pretrained(where, **more)
    return tokenizer


def image_statistics(name: str | None, tower: PreTrainedConfig) -> dict[str, list[float]]:
    """Mean and deviation of a channel that a pretrained tower wants: from its own file, or those of its kind.

    Empty for towers that are used to CLIP's, which the processor has by itself.
    """
    kind = STATISTICS.get(tower.model_type, {})
    if name is None or name == SMOLLM2:
        return kind
    try:
        with reaching(place(name)):
            own, _ = ImageProcessingMixin.get_image_processor_dict(place(name))
    except OSError:
        return kind
    return {key: own[key] for key in ("image_mean", "image_std") if key in own} or kind


STATISTICS = {
    "siglip_vision_model": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "dinov2": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
}
STATISTICS["dinov2_with_registers"] = STATISTICS["dinov2"]
