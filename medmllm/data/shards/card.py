"""The card by which the library `datasets` opens a folder of shards: which files hold samples, and of what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from medmllm.data.records import Record
from medmllm.data.shards.index import Layout

NAME = "README.md"
_PICTURES = {"png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2"}
# Types of the record's fields, by how they are annotated.
_TYPES: dict[str, Any] = {
    "str": {"dtype": "string"},
    "int": {"dtype": "int64"},
    "bool": {"dtype": "bool"},
    "tuple[str, ...]": {"list": "string"},
    "tuple[tuple[str, str], ...]": {"list": {"list": "string"}},
    "tuple[tuple[int, int], ...]": {"list": {"list": "int64"}},
}


def write_card(folder: Path, layout: Layout, endings: Iterable[str] = ()) -> None:
    """Write `README.md`, unless there is one.

    Without it `datasets` would read the index and the offsets as samples too, and guess types from the first five.

    Args:
        folder: of shards.
        layout: of the shards.
        endings: of the images, where the samples are records of ours; without them types are left to be guessed.
    """
    head: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": f"*.{layout}"}]}
    if endings:
        texts = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
        record = {"name": "json", "struct": [{"name": f.name, **_TYPES[str(f.type)]} for f in fields(Record)]}
        names = sorted({ending.removeprefix(".") for ending in endings})
        images = [{"name": name, "dtype": "image" if _is_picture(name) else "binary"} for name in names]
        head["dataset_info"] = {"features": [*texts, record, *images]}
    text = (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\nShards of a data set in the layout `{layout}`; "
        "`index.json` says how many samples each has. `datasets.load_dataset` opens this folder.\n"
    )
    if not (folder / NAME).exists():
        (folder / NAME).write_text(text, encoding="utf-8")


def _is_picture(ending: str) -> bool:
    return ending.rpartition(".")[2].lower() in _PICTURES
