"""Writing the trained model as a stock LLaVA folder that any transformers user opens without this package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

TOWER, OLD_TOWER = "vision_tower.", "vision_tower.vision_model."


def save_model(
    folder: Path, llava: LlavaForConditionalGeneration, processor: LlavaProcessor, alignment: nn.Module
) -> None:
    """Saves model, processor and tokenizer; `alignment.safetensors` beside them.

    The folder is written aside and moved into place, so it is whole or absent.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        llava.save_pretrained(part)
        processor.save_pretrained(part)
        _old_layout(part)
        save_file(alignment.state_dict(), part / "alignment.safetensors")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
