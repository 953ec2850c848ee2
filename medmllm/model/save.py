"""Writing the trained model as a stock LLaVA folder that any transformers user opens without this package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from medmllm.config import ModelConfig
from medmllm.model.dense import stock_weights
from medmllm.model.lora import has_adapters, save_adapter

Layout = Literal["v4", "v5"]
TOWER, OLD_TOWER = "vision_tower.", "vision_tower.vision_model."


def save_model(
    folder: Path,
    llava: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    alignment: nn.Module,
    config: ModelConfig | None = None,
) -> None:
    """Saves model, processor and tokenizer; `alignment.safetensors` beside them.

    Of a model with adapters only these and the projector are saved, as peft does. The folder is written aside and moved
    into place, so it is whole or absent.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if config is not None and has_adapters(llava):
            save_adapter(llava, config.lora, part, base=config.source)
        else:
            save_llava(llava, part)
        processor.save_pretrained(part)
        save_file(alignment.state_dict(), part / "alignment.safetensors")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def save_llava(llava: LlavaForConditionalGeneration, folder: Path, *, layout: Layout = "v4") -> None:
    """Saves the model alone: every weight under its stock name, in one precision, in either layout of names."""
    kind = llava.get_input_embeddings().weight.dtype
    weights = stock_weights(llava.state_dict(), llava)
    llava.save_pretrained(
        folder, state_dict={k: v.to(kind) if v.is_floating_point() else v for k, v in weights.items()}
    )
    if layout == "v4":
        _old_layout(folder)


def _old_layout(folder: Path) -> None:
    """Names the tower's weights as transformers 4 and vLLM read them; transformers 5 reads both.

    With the newer names those would leave the tower random, with only a warning.
    """
    for file in folder.glob("model*.safetensors"):
        save_file({_old(k): v for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        listing = json.loads(index.read_text("utf-8"))
        listing["weight_map"] = {_old(k): v for k, v in listing["weight_map"].items()}
        index.write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")


def _old(key: str) -> str:
    before, found, after = key.partition(TOWER)
    return key if not found or after.startswith("vision_model.") else before + OLD_TOWER + after
