"""Low-rank adapters in the language model, and only there.

peft's usual names, `q_proj` or `all-linear`, also match a CLIP tower's layers; a pattern over whole names does not. The
adapters are injected in place, so the model stays a stock LLaVA whose linear layers have got a side path. The projector
is trained in full and saved beside them.

Hu et al., LoRA (ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from medmllm.model.dense import compact, stock_weights
from medmllm.settings.schema import LoraConfig

TARGETS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
PROJECTOR = "multi_modal_projector"
PEFT = "base_model.model."  # before the names of a model that peft has wrapped
AUTO = {"base_model_class": "LlavaForConditionalGeneration", "parent_library": "transformers"}  # for AutoPeftModel
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def add_adapters(llava: LlavaForConditionalGeneration, config: LoraConfig) -> None:
    """Put an adapter beside every linear layer of the language model's blocks; the first output is unchanged."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(_peft(config), llava)
    for name, parameter in llava.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()  # in bfloat16 a small step is lost in rounding


def _peft(config: LoraConfig, **more: Any) -> Any:
    from peft import LoraConfig as PeftConfig  # seconds to import, and most runs have no adapters

    return PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=TARGETS,
        **more,
    )


def has_adapters(llava: nn.Module) -> bool:
    return next(_layers(llava), None) is not None


def save_adapter(llava: LlavaForConditionalGeneration, config: LoraConfig, folder: Path, *, base: str | None) -> None:
    """Write adapters and projector as peft does: `PeftModel.from_pretrained(base, folder)` reads them.

    No `config.json` goes beside them: transformers 5 would take the folder for a whole model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    peft = _peft(config, modules_to_save=[PROJECTOR], base_model_name_or_path=base, inference_mode=True)
    peft.save_pretrained(folder, auto_mapping_dict=AUTO)
    save_file(adapter_weights(llava), folder / WEIGHTS, metadata={"format": "pt"})


def adapter_weights(llava: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """All that a LoRA run trains in the model, under peft's names."""
    weights = stock_weights(llava.state_dict(), llava)
    return {
        PEFT + name.replace(".default", ""): value.detach().cpu().contiguous()
        for name, value in weights.items()
        if "lora_" in name or PROJECTOR in name
    }


def load_adapter(llava: LlavaForConditionalGeneration, folder: Path) -> None:
    """Weights that `save_adapter` wrote, into a model that has the adapters; every key is accounted for.

    Raises:
        ConfigError: a weight is missing, of no use or of another shape.
    """
    from medmllm.model.pretrained import check_keys

    saved = {name.removeprefix(PEFT): value for name, value in load_file(folder / WEIGHTS).items()}
    own = {name.removeprefix(PEFT): value for name, value in adapter_weights(llava).items()}
    check_keys(
        str(folder),
        "adapter",
        missing=own.keys() - saved.keys(),
        unexpected=saved.keys() - own.keys(),
        mismatched=[name for name in own.keys() & saved.keys() if own[name].shape != saved[name].shape],
    )
    before = f"model.{PROJECTOR}."
    projector = {k.removeprefix(before): v for k, v in saved.items() if k.startswith(before)}
    llava.model.multi_modal_projector.load_state_dict(compact(llava.model.multi_modal_projector, projector))
    adapters = {_with_default(k): v for k, v in saved.items() if "lora_" in k}
    llava.load_state_dict(adapters, strict=False)


def _with_default(name: str) -> str:
    before, _, last = name.rpartition(".")
    return f"{before}.default.{last}"


def merge_adapters(llava: LlavaForConditionalGeneration) -> None:
    r"""Add every adapter to its layer, $W + \frac{\alpha}{r} B A$, and take the side paths out, for good."""
    for name, layer in list(_layers(llava)):
        layer.merge()
        above, _, own = name.rpartition(".")
        setattr(llava.get_submodule(above), own, layer.get_base_layer())


def _layers(llava: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in llava.named_modules() if hasattr(module, "lora_A"))
