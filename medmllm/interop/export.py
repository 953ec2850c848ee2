"""A finished run's model in a folder for others, with a card that says what it is."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from transformers import LlavaConfig

from medmllm.errors import ConfigError
from medmllm.evaluate.scan_window import own_window, write_window
from medmllm.interop.card import model_card
from medmllm.model import lora
from medmllm.model.hub import find_processor, local, place
from medmllm.model.opening import is_adapter, open_base, open_llava, run_config
from medmllm.model.save import ALIGNMENT, Layout, save_llava, save_processor
from medmllm.run.aside import folder_aside
from medmllm.run.checksums import write_checksums
from medmllm.settings.load import dump

Format = Literal["hf", "lora", "merged"]
Server = Literal["vllm"]
VLLM_TOWERS = ("clip_vision_model", "siglip_vision_model")  # of its LLaVA, as of vLLM 0.33.0


def export(
    run: Path,
    out: Path,
    *,
    form: Format = "hf",
    layout: Layout = "v4",
    base: Path | None = None,
    server: Server | None = None,
) -> Path:
    """Write the model of `run` to `out`, whole or not at all.

    Args:
        run: a finished run, or a model folder of one.
        out: folder to write; must not exist.
        form: `hf`, a whole stock model; `merged`, the same of a run with adapters, merged into their base; `lora`, the
            adapters and the projector as peft reads them.
        layout: names of weights and files: `v4` is read by transformers 4 and 5 and by vLLM, `v5` by the latter's own.
        base: with `lora`, a second folder to write: the whole model that the adapters belong to, with the rows of new
            tokens, which the adapters then name.
        server: a program that has to open the folder.

    Raises:
        ConfigError: there is no model, a folder exists, the run has no adapters and they are requested, or the server
            takes no such model.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    _check(folder, out, form, base)
    if server is not None and (form == "lora" or layout != "v4"):
        hint = "leave out --format and --layout"
        raise ConfigError(
            "vLLM takes whole models in the layout v4, and no adapters with a projector", where="--for", hint=hint
        )
    with ExitStack() as folders:
        part = folders.enter_context(folder_aside(out))
        if base is not None:
            _write_base(folder, folders.enter_context(folder_aside(base)), layout)
        if form == "lora":
            _write_adapters(folder, part, base)
        else:
            _write_whole(run, folder, part, layout, server)
        (part / "README.md").write_text(model_card(run, part), encoding="utf-8")
        write_checksums(part)
    return out


def _write_whole(run: Path, folder: Path, out: Path, layout: Layout, server: Server | None) -> None:
    llava = open_llava(folder)
    if server is not None:
        check_for_vllm(llava.config)
    save_llava(llava, out, layout=layout)
    save_processor(find_processor(folder, "RUN"), out, layout=layout)
    shutil.copy(folder / ALIGNMENT, out / ALIGNMENT)
    if window := own_window(run):
        write_window(out, window)


def _write_base(folder: Path, out: Path, layout: Layout) -> None:
    save_llava(open_base(folder), out, layout=layout)
    save_processor(find_processor(folder, "RUN"), out, layout=layout)
    write_checksums(out)


def _write_adapters(folder: Path, out: Path, base: Path | None) -> None:
    """The run's adapters, with the name of their base as it is found from any folder."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("config.json"))  # which older versions wrote
    config = run_config(folder)
    (out / "config.yaml").write_text(dump(config), encoding="utf-8")
    name = config.model.source if base is None else str(base)
    if name is not None and (base is not None or local(name)):
        name = str(Path(place(name)).resolve())
    adapter = json.loads((out / lora.CONFIG).read_text("utf-8"))
    adapter |= {"base_model_name_or_path": name, "auto_mapping": lora.AUTO}
    (out / lora.CONFIG).write_text(json.dumps(adapter, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def base_name(adapters: Path) -> str | None:
    """The model below exported adapters, as they name it; None where they belong to parts that no folder holds."""
    name = json.loads((adapters / lora.CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    return str(name) if name else None


def _check(folder: Path, out: Path, form: Format, base: Path | None) -> None:
    if not is_adapter(folder) and not (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds no model", where="RUN", hint="name the folder of a finished run")
    for path, name in ((out, "OUT"), (base, "--base")):
        if path is not None and path.exists():
            raise ConfigError(f"{path} exists already", where=name, hint="choose another folder")
    if form != "hf" and not is_adapter(folder):
        raise ConfigError(f"{folder} has no adapters", where="--format", hint="--format hf writes the whole model")
    if base is not None and form != "lora":
        raise ConfigError("only adapters have a base beside them", where="--base", hint="--format lora")


def check_for_vllm(config: LlavaConfig) -> None:
    """Refuse models that vLLM's LLaVA has no place for: it would stop while it loads the weights.

    Raises:
        ConfigError: the tower is neither a CLIP nor a SigLIP, or the projector reads several layers.
    """
    tower, layers = config.vision_config.model_type, config.vision_feature_layer
    hint = "serve it by exgra serve, or by transformers serve"
    if tower not in VLLM_TOWERS:
        raise ConfigError(f"vLLM's LLaVA has no tower {tower}; it knows CLIP and SigLIP", where="--for", hint=hint)
    if not isinstance(layers, int):
        what = f"vLLM's LLaVA reads one layer of the tower, and this projector reads {len(layers)}"
        raise ConfigError(what, where="--for", hint=hint)
