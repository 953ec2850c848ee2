"""Checkpoints of LLaVA's first layout where a stock model is wanted: converted on the way, once, into the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from graphalign import __version__
from medmllm.data.cache import cache_folder
from medmllm.evaluate.loading import check_name, identity
from medmllm.interop.convert import convert, find_tower_name
from medmllm.model.hub import found, is_original
from medmllm.model.stored import stored_json
from medmllm.settings.schema import Config

FILES = ["*.json", "*.model", "*.bin", "*.safetensors"]


def stock_model(name: str, heard: Callable[[str], None] = lambda line: None) -> str:
    """Where a stock model of this name is: the name itself, or the folder that an original checkpoint was converted to.

    Args:
        name: a folder, or an id on the hub, in the original layout or any other.
        heard: called with a line where something is converted.

    Raises:
        ConfigError: the checkpoint, or the tower that it names, cannot be found or converted.
    """
    check_name(name)
    raw = stored_json(name, "config.json")
    if not is_original(raw):
        return name
    folder = Path(name) if Path(name).is_dir() else _snapshot(name)
    tower = find_tower_name(folder, raw["mm_vision_tower"])
    told = [identity(folder), identity(tower) if Path(tower).is_dir() else tower, __version__]
    out = cache_folder() / "converted" / sha256(json.dumps(told).encode()).hexdigest()[:16] / Path(name).name
    if not out.exists():
        heard(f"converting {name}, a checkpoint of LLaVA's first layout, into {out}")
        out.parent.mkdir(parents=True, exist_ok=True)
        convert(folder, out, tower=tower)
    return str(out)


def with_stock_source(config: Config, heard: Callable[[str], None] = lambda line: None) -> Config:
    """A configuration whose `model.source` is a stock model: an original checkpoint is converted."""
    source = config.model.source
    if source is None or (stock := stock_model(source, heard)) == source:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"source": stock})})


def _snapshot(name: str) -> Path:
    """The files of a repository, out of the cache of the hub or downloaded into it."""
    with found(name, "MODEL"):
        for local in (True, False):
            try:
                folder = Path(snapshot_download(name, allow_patterns=FILES, local_files_only=local))
            except LocalEntryNotFoundError as error:
                missing: Exception = error
                continue
            if not local or any(folder.glob("*.bin")) or any(folder.glob("*.safetensors")):
                return folder
        raise OSError(str(missing))
