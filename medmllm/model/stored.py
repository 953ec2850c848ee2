"""Single files of a checkpoint, whether it is a folder or lies in the cache of the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from medmllm.model.network import reaching


def stored_file(place: str, name: str) -> Path | None:
    """A checkpoint's file; None where it has none of that name. Cached files are not looked up again.

    Args:
        place: folder, or id on the hub.
        name: of the file.
    """
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    try:
        found = cached_file(place, name, local_files_only=True, **quiet)
        if found is None and not Path(place).is_dir():
            with reaching(place):
                found = cached_file(place, name, **quiet)
    except OSError:  # nothing of that name, here or on the hub: whoever opens it says so
        return None
    return None if found is None else Path(found)


def stored_json(place: str, name: str) -> dict[str, Any]:
    """A checkpoint's JSON file; empty where it has none of that name."""
    file = stored_file(place, name)
    content: dict[str, Any] = {} if file is None else json.loads(file.read_text("utf-8"))
    return content
