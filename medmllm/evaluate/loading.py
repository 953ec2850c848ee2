"""A saved model ready to answer: a run's, any LLaVA folder, or one in the hub's cache."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, LlavaForConditionalGeneration

from medmllm.data.batches import Reader
from medmllm.data.chat_template import chat_of
from medmllm.data.conversation import Encoder
from medmllm.data.source import Images
from medmllm.errors import ConfigError
from medmllm.evaluate.generate import Asker
from medmllm.evaluate.stock import StockReader, prepare_processor
from medmllm.model.architecture import image_tokens
from medmllm.model.hub import find_processor, first_line, found
from medmllm.model.network import reaching
from medmllm.model.opening import KEY, is_adapter, open_llava
from medmllm.model.pretrained import load_strictly
from medmllm.planning.plan import resolve_device
from medmllm.run.checksums import check_checksums
from medmllm.settings.load import load_config
from medmllm.settings.schema import Config

RUNS = "runs"  # where training puts runs that are given no other place
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.model")


def load_model(name: Path | str, source: Images, *, device: str = "cpu") -> tuple[LlavaForConditionalGeneration, Asker]:
    """A saved model, and what asks it about images of `source`.

    A model that is not a run of ours computes in float32 on a CPU, whatever its weights are kept in; on an accelerator,
    and if it is a run, in the precision of its weights.

    Args:
        name: a folder that `save_pretrained` wrote, or an id on the hub.
        source: opens the images.
        device: "auto" takes an accelerator where there is one.

    Raises:
        ConfigError: the model is not found, or is not a LLaVA of transformers.
    """
    check_model(name)
    where = Path(name)
    ours = any((place / "config.yaml").exists() for place in (where, where.parent))
    dtype = "auto" if ours or resolve_device(device) != "cpu" else torch.float32
    if where.is_dir():
        llava = open_llava(where, dtype=dtype)
    else:
        llava = load_strictly(LlavaForConditionalGeneration, str(name), KEY, dtype=dtype)
    with found(str(name), KEY):
        own = asker(llava, prepare_processor(find_processor(name, KEY), llava.config), source)
    return to_device(llava, device).eval(), own


def to_device(llava: LlavaForConditionalGeneration, device: str) -> LlavaForConditionalGeneration:
    """The model on a device; "auto" is an accelerator where there is one.

    Raises:
        ConfigError: the device is not available.
    """
    try:
        return llava.to(resolve_device(device))
    except (RuntimeError, AssertionError) as cause:
        told = f"device {device!r} is not available: {str(cause).splitlines()[0]}"
        raise ConfigError(told, where="--device", hint="use --device auto or --device cpu") from cause


def asker(llava: LlavaForConditionalGeneration, processor: Any, source: Images) -> Asker:
    """What asks a model: our own prompts where its template is one of ours, else what its processor makes."""
    own = chat_of(processor)
    if own is None:
        return StockReader(source, processor)
    vision = llava.config.vision_config
    places = image_tokens(vision, vision.image_size, llava.config.vision_feature_select_strategy)
    return Reader(source, Encoder(processor.tokenizer, places, own), processor)


def looking_at(asker: Asker, source: Images) -> Asker:
    """The same with the images of another source."""
    assert isinstance(asker, (Reader, StockReader))
    return replace(asker, source=source)


def check_model(name: Path | str) -> str | None:
    """Make sure that a LLaVA is there, before anything is loaded.

    Returns:
        The commit of a model from the hub.

    Raises:
        ConfigError: nothing is there (with the line that downloads it), or it is another kind of model.
    """
    if is_adapter(Path(name)):
        return None
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        hint = "give a finished run, or a folder with config.json"
        raise ConfigError(f"{name} holds no model", where=KEY, hint=hint)
    check_name(str(name))
    check_checksums(Path(name))
    try:
        with reaching(str(name)):
            config = AutoConfig.from_pretrained(name)
    except Exception as cause:  # damaged files raise nearly anything
        if Path(name).is_dir():
            what = f"the model in {name} cannot be read: {first_line(cause)}"
            raise ConfigError(what, where=KEY, hint="its config.json is damaged: copy or save it again") from cause
        if not isinstance(cause, OSError):
            raise
        told = f"{name} is neither a folder nor in the cache of the hub, and it cannot be downloaded from here"
        folder = str(name).rpartition("/")[2]
        hint = f"where there is a network: hf download {name} --local-dir {folder}; then give that folder"
        raise ConfigError(told, where=KEY, hint=hint) from cause
    if config.model_type != "llava":
        told = f"{name} is a model of type {config.model_type}, not llava"
        raise ConfigError(told, where=KEY, hint="score its answers with --references and --predictions")
    return getattr(config, "_commit_hash", None)


def check_name(name: str) -> None:
    """Raise ConfigError, without asking the hub, for a name that is neither a path here nor a model's id there."""
    if Path(name).exists() or is_hub_id(name):
        return
    near = nearest_run(name)
    hint = f"did you mean {near}?" if near else "give a run's folder, a model's folder, or an id on the hub, OWNER/NAME"
    raise ConfigError(f"there is no run or model {name}", where=KEY, hint=hint)


def is_hub_id(name: str) -> bool:
    """Whether a name that is not a path here may be a model's id on the hub, OWNER/NAME; a path to runs never is."""
    owner = name.partition("/")[0]
    return HUB_ID.fullmatch(name) is not None and owner != RUNS and not Path(owner).exists()


def nearest_run(name: str) -> str:
    """The folder of a run whose name is nearest to one that does not exist; "" where nothing is near."""
    path = Path(name)
    places = [folder for folder in dict.fromkeys((path.parent, Path(RUNS))) if folder.is_dir()]
    runs = {run.name: str(run) for folder in places for run in sorted(folder.iterdir()) if (run / "model").is_dir()}
    near = difflib.get_close_matches(path.name, runs, n=1)
    return runs[near[0]] if near else ""


def model_folder(name: Path) -> Path:
    """The model of a run's folder, or the folder itself."""
    return name / "model" if (name / "model").is_dir() else name


def own_config(name: Path) -> Config:
    """The configuration that a run was made with, or the defaults for any other model."""
    return load_config(str(name / "config.yaml")) if (name / "config.yaml").exists() else Config()


def answer_length(model: Path, name: Path | str) -> int:
    """Longest answer where nothing is requested: a run's own setting, else as the model's chat format has it.

    Args:
        model: a run's folder, or what was named in its place.
        name: where the model itself is.
    """
    own = own_config(model).eval.max_new_tokens
    if (model / "config.yaml").exists():
        return own
    chat = chat_of(find_processor(name, KEY))
    return own if chat is None else chat.answer_tokens or own


def identity(name: Path | str) -> str:
    """A short mark of a saved model that changes when its files do; costs no reading of weights."""
    files = sorted({file for pattern in WEIGHTS for file in Path(name).glob(pattern)})
    seen: list[Any] = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    told = seen or [str(name), check_model(name)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
