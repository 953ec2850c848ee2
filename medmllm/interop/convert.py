"""Weights in the layout of LLaVA's and LLaVA-Med's own code into a stock LLaVA.

That layout is a language model's checkpoint whose `config.json` says `mm_vision_tower`, with a few weights more:

    model.mm_projector.0.weight ...           the projector; without a number where it is one linear layer
    model.vision_tower.vision_tower. ...      the tower, where it was saved too

    model.message_pass_node_features. ...     ExGra-Med's graph convolutions, after training with alignment

Every weight is accounted for; nothing is left random. What else the original program knows goes with the model: its
chat format, its tokens, how it makes images square.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedConfig

from medmllm.data.chat import CHATS, Chat
from medmllm.data.conversation import Encoder
from medmllm.data.tokenizer import IMAGE
from medmllm.errors import ConfigError
from medmllm.model.architecture import image_tokens, marks, prefix_tokens
from medmllm.model.assemble import processor
from medmllm.model.dense import WEIGHT, is_dci, repeated_weight
from medmllm.model.hub import FIRST_LAYOUT, find_config, find_tokenizer, is_original
from medmllm.model.manner import Fit
from medmllm.model.pretrained import BUFFERS, ORIGINAL, check_keys, read_weights, tower_weights
from medmllm.model.save import ALIGNMENT, Layout, save_llava, save_processor
from medmllm.model.vocabulary import with_marks
from medmllm.run.aside import folder_aside
from medmllm.settings.schema import ModelConfig

FIRST = ("llava", "llama")  # LLaVA 1.0, LLaVA-Med 1.0 and ExGra-Med: images are patches of a token of their own
PATCH = "<im_patch>"
NO_TEXT = "<0x00>"  # its id becomes that of `<image>`: a row more would take a share of every probability
PROJECTOR, TOWER = "model.mm_projector.", "model.vision_tower.vision_tower.vision_model."
GRAPH, GRAPH_LAYER = "model.message_pass_node_features.", re.compile(r"conv(\d+)\.")
NORM = "model.norm.weight"
KINDS = {"patch": "default", "cls_patch": "full"}  # what the projector reads of the tower's output


class Parts(NamedTuple):
    """Weights of a checkpoint by part, under the names that each part has on its own."""

    language: dict[str, Tensor]
    projector: dict[str, Tensor]
    tower: dict[str, Tensor]
    graph: dict[str, Tensor]


def convert(
    source: Path, out: Path, *, tower: str | None = None, base: Path | None = None, layout: Layout = "v4"
) -> LlavaConfig:
    """Read `source` in the original layout and write a stock folder with model, tokenizer and processor.

    Args:
        source: folder with `config.json`, weights and tokenizer.
        out: folder to write; must not exist.
        tower: the vision tower, where another than the one that the configuration names.
        base: the language model that delta weights are to be added to.
        layout: names of the weights, as in `exgra export`.

    Raises:
        ConfigError: it is not such a checkpoint, it holds deltas and no base is given, or its weights do not fit.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already", where="OUT", hint="choose another folder")
    raw = original_config(source)
    parts = split_weights(_all_weights(source))
    language = added(parts.language, base, source) if base else _not_delta(parts.language, source)
    chat = original_chat(raw)
    tokenizer = find_tokenizer(str(source), "MODEL", PATCH if _is_first(raw) else IMAGE, spare=NO_TEXT)
    tokenizer = with_marks(tokenizer, chat)
    vision = find_tower_name(source, tower or raw["mm_vision_tower"])
    llava = _empty(raw, vision, tokenizer, parts.projector)
    Encoder(tokenizer, llava.config.image_seq_length, chat)  # refuses a tokenizer without the marks of the format
    own_tower = parts.tower if raw.get("unfreeze_mm_vision_tower") else {}
    weights = {
        **{_language_name(k): v for k, v in _grown(language, len(tokenizer)).items()},
        **{f"model.multi_modal_projector.{k}": v for k, v in _projector(parts.projector, llava.config).items()},
        **{f"model.vision_tower.{k}": v for k, v in (own_tower or tower_weights(vision)).items()},
    }
    _fill(llava, weights, source)
    llava.generation_config.update(**marks(tokenizer))
    with folder_aside(out) as part:
        save_llava(llava, part, layout=layout, as_they_are=True)
        asked = {"vision": {"pretrained": vision, "fit": original_fit(raw)}, "language": {"chat": chat.name}}
        made = processor(ModelConfig.model_validate(asked), llava.config, tokenizer, chat)
        save_processor(made, part, layout=layout)
        if parts.graph:
            save_file(parts.graph, part / ALIGNMENT)
    return llava.config


def original_chat(raw: Mapping[str, Any]) -> Chat:
    """The chat format in which the original program asks, with the marks that it puts around images."""
    kind = "simple" if _is_first(raw) else "mistral_instruct" if raw["model_type"] == "llava_mistral" else "vicuna_v1"
    return CHATS[kind].marked() if raw.get("mm_use_im_start_end") else CHATS[kind]


def original_fit(raw: Mapping[str, Any]) -> Fit:
    """How the original program makes images square: CLIP's way, or with a border."""
    return "pad" if raw.get("image_aspect_ratio") == "pad" else "crop"


def _is_first(raw: Mapping[str, Any]) -> bool:
    return raw["model_type"] in FIRST


def split_weights(weights: Mapping[str, Tensor]) -> Parts:
    """The weights by part; buffers that models make by themselves are left out."""
    parts = Parts({}, {}, {}, {})
    for name, value in weights.items():
        if name.endswith(BUFFERS):
            continue
        if name.startswith(PROJECTOR):
            parts.projector[name.removeprefix(PROJECTOR)] = value
        elif name.startswith(TOWER):
            parts.tower[name.removeprefix(TOWER)] = value
        elif name.startswith(GRAPH):
            parts.graph[_graph_name(name.removeprefix(GRAPH))] = value.float().contiguous()
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
    """Refuse differences to another model: their norms' weights are near zero, a model's are not."""
    norm = language.get(NORM)
    if norm is not None and float(norm.float().abs().median()) < 0.05:
        raise ConfigError(
            f"{source} holds delta weights, differences to a base model: on their own they are not a model",
            where=f"{source}: {NORM}",
            hint="name the model that they were made from, e.g. --base llama-7b",
        )
    return language


def original_config(source: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint that can be converted.

    Raises:
        ConfigError: it is of another layout or architecture.
    """
    path = source / "config.json"
    if not path.exists():
        if source.is_dir():
            raise ConfigError(f"{source} holds no config.json", where="MODEL", hint="name the folder of a checkpoint")
        hint = (
            f"check the path; a model of the hub: hf download {source} --local-dir {source.name}, then give that folder"
        )
        raise ConfigError(f"{source} is not a folder", where="MODEL", hint=hint)
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if not is_original(raw):
        raise ConfigError(
            f"{source} is not in LLaVA's first layout (model_type {raw.get('model_type')!r})",
            where=str(path),
            hint=f"a stock LLaVA needs no conversion: model.source={source}",
        )
    if raw.get("image_aspect_ratio") == "anyres" or str(raw.get("mm_patch_merge_type", "flat")) != "flat":
        raise ConfigError(
            f"{source} cuts images into tiles (image_aspect_ratio {raw.get('image_aspect_ratio')!r}, "
            f"mm_patch_merge_type {raw.get('mm_patch_merge_type')!r}), as LLaVA 1.6 does: that is the architecture "
            "llava_next of transformers, not llava",
            where=str(path),
            hint="convert a checkpoint of LLaVA 1.5 or LLaVA-Med",
        )
    if raw.get("mm_projector_type", "linear") not in ("linear", "mlp2x_gelu"):
        raise ConfigError(f"stock LLaVA has no projector {raw['mm_projector_type']}", where=str(path))
    if raw.get("mm_vision_select_feature", "patch") not in KINDS:
        hint = f"known are {', '.join(KINDS)}"
        raise ConfigError(f"unknown feature selection {raw['mm_vision_select_feature']!r}", where=str(path), hint=hint)
    return raw


def find_tower_name(source: Path, name: str) -> str:
    """Where the tower is: a folder as it is named, or beside the checkpoint or in it; else an id on the hub.

    Raises:
        ConfigError: it is a tower of open_clip, which no stock LLaVA has.
    """
    places = (Path(name).expanduser(), source / name, source.parent / name, source.parent / Path(name).name)
    folder = next((place for place in places if (place / "config.json").is_file()), None)
    if "biomedclip" in name.lower() or (folder is None and (Path(name) / "open_clip_config.json").is_file()):
        raise ConfigError(
            f"the vision tower {name} is a model of open_clip with a timm ViT, and stock LLaVA has no such tower",
            where="--vision-tower",
            hint="convert a checkpoint whose tower is a CLIP of transformers",
        )
    return name if folder is None else str(folder)


def _all_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's weight files."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ConfigError(f"{folder} holds no weights", where=str(folder), hint="*.safetensors or pytorch_model*.bin")
    return {name: value for file in files for name, value in read_weights(file, "MODEL").items()}


def _empty(
    raw: Mapping[str, Any], tower: str, tokenizer: Any, projector: Mapping[str, Tensor]
) -> LlavaForConditionalGeneration:
    """The model without weights."""
    vision = find_config(tower, "--vision-tower")
    vision = getattr(vision, "vision_config", vision)
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(_llava(raw, vision, tokenizer, dci=_is_dci(projector, vision)))
    return llava.to(getattr(torch, str(raw.get("torch_dtype") or "float16")))


def _is_dci(projector: Mapping[str, Tensor], vision: PreTrainedConfig) -> bool:
    """Whether a projector reads three layers' width; nothing else in the checkpoint says so."""
    weight = projector.get("0.weight", projector.get("weight"))
    return weight is not None and weight.shape[1] == 3 * vision.hidden_size


def _llava(raw: Mapping[str, Any], vision: PreTrainedConfig, tokenizer: Any, *, dci: bool) -> LlavaConfig:
    kind = FIRST_LAYOUT[raw["model_type"]]
    known = AutoConfig.for_model(kind).to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    own = {k: v for k, v in raw.items() if k in known or k.startswith("rope_")}
    more = {"vocab_size": max(len(tokenizer), raw["vocab_size"]), "pad_token_id": tokenizer.pad_token_id}
    text = AutoConfig.for_model(kind, **own | more)
    layer = raw.get("mm_vision_select_layer", -2)
    strategy = KINDS[raw.get("mm_vision_select_feature", "patch")] if prefix_tokens(vision) else "full"
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=image_tokens(vision, vision.image_size, strategy),
        vision_feature_layer=[layer, *range(vision.num_hidden_layers)] if dci else layer,
        vision_feature_select_strategy=strategy,
        projector_hidden_act="gelu" if raw.get("mm_projector_type") == "mlp2x_gelu" else "linear",
    )


def _projector(projector: Mapping[str, Tensor], config: LlavaConfig) -> dict[str, Tensor]:
    """A projector's weights under their stock names; those over means of layers repeated over the layers.

    The repeated weight is a twelfth, say, of the original: in half precision it would lose digits.
    """
    weights = two_layers(projector)
    return weights | {WEIGHT: repeated_weight(weights[WEIGHT].float(), config)} if is_dci(config) else weights


def _graph_name(name: str) -> str:
    """ExGra-Med's name of a graph convolution's weight -> that in `alignment.safetensors`."""
    return GRAPH_LAYER.sub(lambda found: f"encoder.layers.{int(found[1]) - 1}.", name)


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
    llava.load_state_dict(weights, assign=True)
