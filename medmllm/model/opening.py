"""Opening what a run has saved: a whole model, or adapters over the base that the run's configuration names."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.model import lora
from medmllm.model.assemble import assemble
from medmllm.model.hub import found
from medmllm.model.pretrained import load_strictly
from medmllm.run.checksums import check_checksums
from medmllm.settings.load import load_config
from medmllm.settings.schema import Config, LoraConfig

KEY = "RUN|MODEL"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters and a projector, and not a whole model."""
    return (folder / lora.CONFIG).exists()


def open_llava(folder: Path, *, dtype: torch.dtype | str = "auto") -> LlavaForConditionalGeneration:
    """A saved model with its weights; adapters are merged into their base.

    Args:
        folder: of the model.
        dtype: what a whole model's weights are read into; "auto" is what the model says.

    Raises:
        ConfigError: files that are damaged, weights that are missing or left over, adapters without the configuration
            that names their base, or a base that is not available.
    """
    if not is_adapter(folder):
        return load_strictly(LlavaForConditionalGeneration, str(folder), KEY, dtype=dtype)
    llava = with_adapter(folder)
    lora.merge_adapters(llava)
    return llava


def with_adapter(folder: Path) -> LlavaForConditionalGeneration:
    """The base with its adapters beside it, as the run had it."""
    config = run_config(folder)
    check_checksums(folder)
    with found(str(folder), KEY):
        llava = assemble(config.model, AutoTokenizer.from_pretrained(folder), seed=config.seed)
        lora.load_adapter(llava, folder)
    return llava


def open_base(folder: Path) -> LlavaForConditionalGeneration:
    """The model that a run put its adapters in, as it was before, in full precision if the run kept it in four bits."""
    config = run_config(folder)
    check_checksums(folder)
    model = config.model.model_copy(update={"lora": LoraConfig(), "quantize": "none"})
    with found(str(folder), KEY):
        return assemble(model, AutoTokenizer.from_pretrained(folder), seed=config.seed)


def run_config(folder: Path) -> Config:
    """The configuration of the run that wrote a folder of adapters: in the folder, or above it.

    Raises:
        ConfigError: there is none.
    """
    file = next((place / "config.yaml" for place in (folder, folder.parent) if (place / "config.yaml").exists()), None)
    if file is None:
        raise ConfigError(
            f"{folder} holds adapters, and nothing says what they belong to",
            where=str(folder),
            hint="keep the run's config.yaml beside them",
        )
    return load_config(str(file))
