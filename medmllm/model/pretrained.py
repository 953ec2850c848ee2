"""Pretrained weights into a stock LLaVA, with every key accounted for.

A weight that is missing, or that nothing takes, is an error with its name: transformers would warn and continue with a
random one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.model.architecture import KEY, LANGUAGE_KEY, VISION_KEY, image_size
from medmllm.model.hub import find_config, found, place
from medmllm.model.pooling import with_pooled_patches
from medmllm.model.positions import with_image_size
from medmllm.run.checksums import check_checksums
from medmllm.settings.schema import ModelConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PROJECTOR_KEY = "model.projector"
# LLaVA's own names of the projector's two layers, and where they may stand.
ORIGINAL = {"0.weight": "linear_1.weight", "0.bias": "linear_1.bias"} | {
    "2.weight": "linear_2.weight",
    "2.bias": "linear_2.bias",
}
BEFORE = ("model.mm_projector.", "mm_projector.", "model.multi_modal_projector.", "multi_modal_projector.")
BUFFERS = ("rotary_emb.inv_freq", "position_ids")  # made again by the model, though old checkpoints hold them


def load_model(config: ModelConfig, architecture: LlavaConfig) -> LlavaForConditionalGeneration:
    """A whole checkpoint, or parts put together; parts that are not pretrained get random weights.

    Raises:
        ConfigError: something is not available, or its weights do not fit.
    """
    if config.source is not None:
        llava = load_strictly(LlavaForConditionalGeneration, config.source, KEY, dtype=DTYPES[config.dtype])
        tower = llava.model.vision_tower
        llava.model.vision_tower = with_pooled_patches(tower, config.vision.pool, tower.config.image_size)
        llava.config.vision_config, llava.config.image_seq_length = tower.config, architecture.image_seq_length
    else:
        llava = _assembled(config, architecture)
    if config.projector is not None:
        load_projector(llava.model.multi_modal_projector, Path(config.projector))
    return llava


def _assembled(config: ModelConfig, architecture: LlavaConfig) -> LlavaForConditionalGeneration:
    """The parts, each loaded once, in a model that was made without memory for weights of its own."""
    dtype = DTYPES[config.dtype]
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(architecture)
    language = _language(config, architecture)
    llava.model.language_model, llava.lm_head = language.model, language.lm_head
    llava.model.vision_tower = _tower(config, architecture, dtype)
    llava.model.multi_modal_projector = type(llava.model.multi_modal_projector)(architecture).to(dtype)
    if architecture.tie_word_embeddings:
        llava.lm_head.weight = llava.model.language_model.embed_tokens.weight
    return llava


def _language(config: ModelConfig, architecture: LlavaConfig) -> Any:
    name, text = config.language.pretrained, architecture.text_config
    more = {"quantization_config": four_bits()} if config.quantize == "4bit" else {}
    if name is None:
        return AutoModelForCausalLM.from_config(text, dtype=DTYPES[config.dtype])
    language = load_strictly(AutoModelForCausalLM, name, LANGUAGE_KEY, dtype=DTYPES[config.dtype], **more)
    if text.vocab_size > language.config.vocab_size:  # rows of the new tokens, drawn like any other weight
        language.resize_token_embeddings(text.vocab_size, mean_resizing=False)
    return language


def _tower(config: ModelConfig, architecture: LlavaConfig, dtype: torch.dtype) -> nn.Module:
    name, wanted = config.vision.pretrained, architecture.vision_config
    if name is None:
        return AutoModel.from_config(wanted, dtype=dtype)
    tower = with_image_size(find_tower(name, dtype), wanted)
    return with_pooled_patches(tower, config.vision.pool, image_size(config.vision, wanted))


def find_tower(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A vision tower with its weights; of a CLIP or SigLIP, the part that sees."""
    own = find_config(name, VISION_KEY)
    return load_strictly(AutoModel, name, VISION_KEY, config=getattr(own, "vision_config", own), dtype=dtype)


def tower_weights(name: str) -> dict[str, Tensor]:
    """The weights of a vision tower, without buffers."""
    return {k: v for k, v in find_tower(name).state_dict().items() if not k.endswith(BUFFERS)}


def load_strictly(kind: Any, name: str, key: str, **more: Any) -> Any:
    """`from_pretrained` that refuses weights which are missing, left over or of another shape."""
    check_checksums(Path(place(name)))
    with found(name, key):
        model, info = kind.from_pretrained(place(name), output_loading_info=True, **more)
    ours = {k.partition(".")[0] for k in model.state_dict()}
    left = [k for k in info["unexpected_keys"] if k.partition(".")[0] in ours]  # a CLIP's text encoder is not ours
    check_keys(name, key, missing=info["missing_keys"], unexpected=left, mismatched=info.get("mismatched_keys", ()))
    return model


def check_keys(
    name: str, key: str, *, missing: Iterable[str] = (), unexpected: Iterable[str] = (), mismatched: Iterable[Any] = ()
) -> None:
    """Raise ConfigError with the names of weights that are missing, of no use, or of another shape."""
    found = {
        "lacks": [k for k in sorted(missing) if not k.endswith(BUFFERS)],
        "has no place for": [k for k in sorted(unexpected) if not k.endswith(BUFFERS)],
        "has another shape in": sorted(str(k[0] if isinstance(k, tuple) else k) for k in mismatched),
    }
    told = [f"{what} {some(keys)}" for what, keys in found.items() if keys]
    if told:
        raise ConfigError(
            f"the weights do not fit: the model of {name} {'; it '.join(told)}",
            where=key,
            hint="name a checkpoint of this architecture; weights in LLaVA's first layout go through exgra convert",
        )


def some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def load_projector(projector: nn.Module, path: Path) -> None:
    """Weights of a projector from a file of its own, or out of a model's file.

    Raises:
        ConfigError: the file cannot be read, or a weight is missing, of no use or of another shape.
    """
    from medmllm.model.dense import compact

    given = compact(projector, _projector_weights(path))
    own = projector.state_dict()
    check_keys(
        path.name,
        PROJECTOR_KEY,
        missing=own.keys() - given.keys(),
        unexpected=given.keys() - own.keys(),
        mismatched=[k for k in own.keys() & given.keys() if own[k].shape != given[k].shape],
    )
    projector.load_state_dict(given)


def _projector_weights(path: Path) -> dict[str, Tensor]:
    weights = read_weights(_holding(path), PROJECTOR_KEY)
    inside = {k: v for k, v in weights.items() if k.startswith(BEFORE)} or weights
    return {_plain(k): v for k, v in inside.items()}


def _holding(path: Path) -> Path:
    """The file with a projector's weights: the path itself, or one of a saved model's folder."""
    if not path.is_dir():
        return path
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return path / "model.safetensors"
    listed = json.loads(index.read_text("utf-8"))["weight_map"]
    return path / next((file for name, file in listed.items() if "multi_modal_projector.linear_1" in name), "none")


def _plain(key: str) -> str:
    name = next((key.removeprefix(before) for before in BEFORE if key.startswith(before)), key)
    return ORIGINAL.get(name, name)


def read_weights(path: Path, key: str) -> Mapping[str, Tensor]:
    """Tensors of a `.safetensors` or `.bin` file; nothing else is unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"the weights cannot be read: {(str(error).splitlines() or ['no message'])[0]}",
            where=f"{key}: {path}",
            hint="give a .safetensors file, or a .bin that holds only tensors",
        ) from error


def four_bits() -> Any:
    """How bitsandbytes keeps a frozen language model: NF4 with double quantisation, multiplied in bfloat16."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
