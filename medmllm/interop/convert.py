"""Weights in the layout of LLaVA's and LLaVA-Med's own code into a stock LLaVA.

That layout is a language model's checkpoint whose `config.json` says `mm_vision_tower`, with a few weights more:

    model.mm_projector.0.weight ...           the projector; without a number where it is one linear layer
    model.vision_tower.vision_tower. ...      the tower, where it was saved too

Every weight is accounted for; nothing is left random.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedConfig

from medmllm.errors import ConfigError
from medmllm.model.architecture import image_tokens, marks, prefix_tokens
from medmllm.model.assemble import processor
from medmllm.model.hub import find_config, find_tokenizer
from medmllm.model.pretrained import BUFFERS, ORIGINAL, check_keys, read_weights, tower_weights
from medmllm.model.save import Layout, save_llava, save_processor
from medmllm.model.vocabulary import with_marks
from medmllm.settings.schema import ModelConfig

LANGUAGES = {"llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral", "llama": "llama"}
PROJECTOR, TOWER = "model.mm_projector.", "model.vision_tower.vision_tower.vision_model."
NORM = "model.norm.weight"


class Parts(NamedTuple):
    """Weights of a checkpoint by part, under the names that each part has on its own."""

    language: dict[str, Tensor]
    projector: dict[str, Tensor]
    tower: dict[str, Tensor]


def convert(
    source: Path, out: Path, *, tower: str | None = None, base: Path | None = None, layout: Layout = "v4"
) -> LlavaConfig:
    """Reads `source` in the original layout and writes a stock folder with model, tokenizer and processor.

    Args:
        source: folder with `config.json`, weights and tokenizer.
        out: folder to write; must not exist.
        tower: the vision tower, where another than the one that the configuration names.
        base: the language model that delta weights are to be added to.
        layout: names of the weights, as in `exgra export`.

    Raises:
        ConfigError: it is no such checkpoint, it holds deltas and no base is given, or its weights do not fit.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already", where="OUT", hint="choose another folder")
    raw = _config(source)
    parts = split(_all_weights(source))
    language = added(parts.language, base, source) if base else _not_delta(parts.language, source)
    chat = "mistral" if LANGUAGES[raw["model_type"]] == "mistral" else "vicuna"
    tokenizer = with_marks(find_tokenizer(str(source), "MODEL"), chat)
    llava, vision = _empty(raw, tower, tokenizer)
    weights = {
        **{_language_name(k): v for k, v in _grown(language, len(tokenizer)).items()},
        **{f"model.multi_modal_projector.{k}": v for k, v in two_layers(parts.projector).items()},
        **{f"model.vision_tower.{k}": v for k, v in (parts.tower or tower_weights(vision)).items()},
    }
    _fill(llava, weights, source)
    llava.generation_config.update(**marks(tokenizer))
    save_llava(llava, out, layout=layout)
    asked = ModelConfig.model_validate({"vision": {"pretrained": vision}, "language": {"chat": chat}})
    save_processor(processor(asked, llava.config, tokenizer), out, layout=layout)
    return llava.config


def split(weights: Mapping[str, Tensor]) -> Parts:
    """The weights by part; buffers that models make by themselves are left out."""
    parts = Parts({}, {}, {})
    for name, value in weights.items():
        if name.endswith(BUFFERS):
            continue
        if name.startswith(PROJECTOR):
            parts.projector[name.removeprefix(PROJECTOR)] = value
        elif name.startswith(TOWER):
            parts.tower[name.removeprefix(TOWER)] = value
        else:
            parts.language[name] = value
    return parts


def two_layers(projector: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A projector's weights as stock LLaVA names them; one linear layer is followed by the identity."""
    if "weight" not in projector:
        return {ORIGINAL.get(name, name): value for name, value in projector.items()}
    weight, bias = projector["weight"], projector["bias"]
    same = {"linear_2.weight": torch.eye(len(weight), dtype=weight.dtype), "linear_2.bias": torch.zeros_like(bias)}
    return {"linear_1.weight": weight, "linear_1.bias": bias, **same}


def added(delta: Mapping[str, Tensor], base: Path, source: Path) -> dict[str, Tensor]:
    """Base plus delta; rows of tokens that the base does not have are the delta's own."""
    weights = _all_weights(base)
    check_keys(str(base), "--base", missing=delta.keys() - weights.keys())
    whole = {}
    for name, value in delta.items():
        whole[name] = value.clone()
        whole[name][: len(weights[name])] += weights[name]
    return _not_delta(whole, source)


def _not_delta(language: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Refuses differences to another model: their norms' weights are near zero, a model's are not."""
    norm = language.get(NORM)
    if norm is not None and float(norm.float().abs().median()) < 0.05:
        raise ConfigError(
            f"{source} holds delta weights, differences to a base model: on their own they are no model.",
            where=f"{source}: {NORM}",
            hint="name the model that they were made from, e.g. --base llama-7b",
        )
    return language


def _config(source: Path) -> dict[str, Any]:
    path = source / "config.json"
    if not path.exists():
        raise ConfigError(f"{source} holds no config.json", where="MODEL", hint="name the folder of a checkpoint")
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if raw.get("model_type") not in LANGUAGES or "mm_vision_tower" not in raw:
        raise ConfigError(
            f"{source} is not in LLaVA's first layout (model_type {raw.get('model_type')!r})",
            where=str(path),
            hint=f"a stock LLaVA needs no conversion: model.source={source}",
        )
    if raw.get("mm_projector_type", "linear") not in ("linear", "mlp2x_gelu"):
        raise ConfigError(f"no stock LLaVA has a projector {raw['mm_projector_type']}", where=str(path))
    return raw


def _all_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's weight files."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ConfigError(f"{folder} holds no weights", where=str(folder), hint="*.safetensors or pytorch_model*.bin")
    return {name: value for file in files for name, value in read_weights(file, "MODEL").items()}


def _empty(raw: Mapping[str, Any], tower: str | None, tokenizer: Any) -> tuple[LlavaForConditionalGeneration, str]:
    """The model without weights, and the name of its tower."""
    name = tower or raw["mm_vision_tower"]
    vision = find_config(name, "--vision-tower")
    vision = getattr(vision, "vision_config", vision)
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(_llava(raw, vision, tokenizer))
    return llava.to(getattr(torch, str(raw.get("torch_dtype") or "float16"))), name


def _llava(raw: Mapping[str, Any], vision: PreTrainedConfig, tokenizer: Any) -> LlavaConfig:
    kind = LANGUAGES[raw["model_type"]]
    own = {k: v for k, v in raw.items() if not k.startswith("mm_") and k not in ("model_type", "architectures")}
    text = AutoConfig.for_model(kind, **own | {"vocab_size": max(len(tokenizer), raw["vocab_size"])})
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=image_tokens(vision, vision.image_size),
        vision_feature_layer=raw.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default" if prefix_tokens(vision) else "full",
        projector_hidden_act="gelu" if raw.get("mm_projector_type") == "mlp2x_gelu" else "linear",
    )


def _language_name(name: str) -> str:
    return name if name.startswith("lm_head.") else "model.language_model." + name.removeprefix("model.")


def _grown(language: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Word embeddings and head with rows for new tokens: the mean of the others, as good as any untrained."""
    grown = dict(language)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old = grown[name]
        new = old.float().mean(0, keepdim=True).to(old.dtype).expand(max(0, rows - len(old)), -1)
        grown[name] = torch.cat([old, new])
    return grown


def _fill(llava: LlavaForConditionalGeneration, weights: Mapping[str, Tensor], source: Path) -> None:
    own = llava.state_dict()
    check_keys(
        str(source),
        "MODEL",
        missing=own.keys() - weights.keys(),
        unexpected=weights.keys() - own.keys(),
        mismatched=[k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape],
    )
    kind = llava.dtype
    llava.load_state_dict({k: v.to(kind) for k, v in weights.items()}, assign=True)
