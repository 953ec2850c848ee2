"""A finished run's model in a folder for others, with a card that says what it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from medmllm.errors import ConfigError
from medmllm.evaluate.scan_window import own_window, write_window
from medmllm.interop.card import model_card
from medmllm.model.hub import find_processor
from medmllm.model.opening import is_adapter, open_llava
from medmllm.model.save import ALIGNMENT, Layout, save_llava, save_processor
from medmllm.run.checksums import write_checksums

Format = Literal["hf", "lora", "merged"]


def export(run: Path, out: Path, *, form: Format = "hf", layout: Layout = "v4") -> Path:
    """Write the model of `run` to `out`, whole or not at all.

    Args:
        run: a finished run, or a model folder of one.
        out: folder to write; must not exist.
        form: `hf`, a whole stock model; `merged`, the same of a run with adapters, merged into their base; `lora`, the
            adapters and the projector as peft reads them.
        layout: names of weights and files: `v4` is read by transformers 4 and 5 and by vLLM, `v5` by the latter's own.

    Raises:
        ConfigError: there is no model, `out` exists, or the run has no adapters and they are asked for.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    _check(folder, out, form)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if form == "lora":
            shutil.copytree(folder, part)
            shutil.copy(run / "config.yaml", part / "config.yaml")
        else:
            save_llava(open_llava(folder), part, layout=layout)
            save_processor(find_processor(folder, "RUN"), part, layout=layout)
            shutil.copy(folder / ALIGNMENT, part / ALIGNMENT)
            if window := own_window(run):
                write_window(part, window)
        (part / "README.md").write_text(model_card(run), encoding="utf-8")
        write_checksums(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _check(folder: Path, out: Path, form: Format) -> None:
    if not (folder / "config.json").exists():
        raise ConfigError(f"{folder} holds no model", where="RUN", hint="name the folder of a finished run")
    if out.exists():
        raise ConfigError(f"{out} exists already", where="OUT", hint="choose another folder")
    if form != "hf" and not is_adapter(folder):
        raise ConfigError(f"{folder} has no adapters", where="--format", hint="--format hf writes the whole model")
