"""Writing the trained model as a stock LLaVA folder that any transformers user opens without this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from medmllm.model.dense import stock_weights
from medmllm.model.lora import has_adapters, save_adapter
from medmllm.run.aside import folder_aside
from medmllm.run.checksums import write_checksums
from medmllm.settings.schema import ModelConfig

Layout = Literal["v4", "v5"]
WRAPPED = ("clip_vision_model", "siglip_vision_model")  # of these transformers 4 wraps the tower once more
ALIGNMENT = "alignment.safetensors"  # the loss with its weights, beside the model
TOWER, OLD_TOWER = "vision_tower.", "vision_tower.vision_model."


def save_model(
    folder: Path,
    llava: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    alignment: nn.Module,
    config: ModelConfig | None = None,
) -> None:
    """Save model, processor and tokenizer; `alignment.safetensors` beside them.

    Of a model with adapters only these and the projector are saved, as peft does. The folder is written aside and moved
    into place, so it is whole or absent.

    Args:
        folder: to write; one that is there is replaced.
        llava: `job.model.packed.llava`.
        processor: `job.reader.processor`, images and tokenizer.
        alignment: `job.model.alignment`, the loss with its weights.
        config: of the model; needed where it has adapters.
    """
    with folder_aside(folder) as part:
        if config is not None and has_adapters(llava):
            save_adapter(llava, config.lora, part, base=config.source)
        else:
            save_llava(llava, part)
        save_processor(processor, part)
        save_file(alignment.state_dict(), part / ALIGNMENT)
        write_checksums(part)
        shutil.rmtree(folder, ignore_errors=True)


def save_llava(
    llava: LlavaForConditionalGeneration, folder: Path, *, layout: Layout = "v4", as_they_are: bool = False
) -> None:
    """Save the model alone: every weight under its stock name, in either layout of names.

    Args:
        llava: the model.
        folder: to write.
        layout: of names.
        as_they_are: keep each weight's precision; else all get that of the word embeddings. Either way this is the
            precision that the configuration names.
    """
    kind = llava.get_input_embeddings().weight.dtype
    weights = stock_weights(llava.state_dict(), llava)
    if not as_they_are:
        weights = {k: v.to(kind) if v.is_floating_point() else v for k, v in weights.items()}
    llava.save_pretrained(folder, state_dict=weights)
    older = layout == "v4" and llava.config.vision_config.model_type in WRAPPED
    _rename(folder, _old if older else _new)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["dtype"] = str(kind).removeprefix("torch.")
    if layout == "v4":
        config["text_config"] |= _older_positions(llava.config.text_config)
    _write(folder / "config.json", config)


def save_processor(processor: LlavaProcessor, folder: Path, *, layout: Layout = "v4") -> None:
    """Save processor and tokenizer; in the older layout as transformers 4 looks for them."""
    processor.save_pretrained(folder)
    if layout == "v4":
        images = processor.image_processor.to_dict()
        images["image_processor_type"] = "LlavaImageProcessor" if images.get("do_pad") else "CLIPImageProcessor"
        _write(folder / "preprocessor_config.json", images)
        file = folder / "tokenizer_config.json"
        words = json.loads(file.read_text("utf-8"))
        words.pop("backend", None)
        named = {"image_token": words["image_token"]}  # a list in the newer layout, which the older cannot read
        reads = ["input_ids", "attention_mask"]  # the older one gives `token_type_ids` too, which no LLaVA takes
        named = {"extra_special_tokens": named, "model_input_names": reads}
        _write(file, words | {"tokenizer_class": "PreTrainedTokenizerFast", **named})


def _older_positions(text: PreTrainedConfig) -> dict[str, Any]:
    """Rotary positions under the names that transformers 4 reads; without them it takes unscaled ones, silently.

    Of `longrope` it reads the trained length only outside the scaling, and then computes another attention factor, so
    the factor is written out.
    """
    rotary = getattr(text, "rope_parameters", None)
    if not rotary:
        return {}
    older, kind = {"rope_theta": rotary["rope_theta"]}, rotary["rope_type"]
    if kind != "default":
        older["rope_scaling"] = {k: v for k, v in rotary.items() if k != "rope_theta"}
    if kind == "longrope":
        _, older["rope_scaling"]["attention_factor"] = ROPE_INIT_FUNCTIONS[kind](text, torch.device("cpu"))
        older["original_max_position_embeddings"] = rotary["original_max_position_embeddings"]
    return older


def _rename(folder: Path, rule: Callable[[str], str]) -> None:
    """Give a saved model's weights other names."""
    for file in folder.glob("model*.safetensors"):
        save_file({rule(k): v for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        listing = json.loads(index.read_text("utf-8"))
        listing["weight_map"] = {rule(k): v for k, v in listing["weight_map"].items()}
        _write(index, listing)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _old(key: str) -> str:
    """A tower's name as transformers 4 and vLLM read it; transformers 5 reads both.

    With the newer name those would leave the tower random, with only a warning.
    """
    before, found, after = key.partition(TOWER)
    return key if not found or after.startswith("vision_model.") else before + OLD_TOWER + after


def _new(key: str) -> str:
    return key.replace(OLD_TOWER, TOWER)
