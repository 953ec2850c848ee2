"""The folder for what is made or fetched once: `EXGRA_CACHE`, or `exgra` in the user's cache folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from medmllm.errors import RunError
from medmllm.run.aside import written_aside


def cache_folder() -> Path:
    """The folder, which need not exist yet."""
    own = os.environ.get("EXGRA_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "exgra"


def remembered() -> dict[str, dict[str, Any]]:
    """Data sets that were prepared from downloaded files: name -> `{"path", "images"}`."""
    path = _list()
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as cause:
        message = f"the list of prepared data sets is damaged ({cause})"
        raise RunError(message, where=str(path), hint=f"rm {path}") from cause
    return found if isinstance(found, dict) else {}


def remember(name: str, path: Path, images: Path | None) -> None:
    """Keep where a data set lies, so that `data.source=NAME` finds it."""
    entry = {"path": str(path.absolute()), "images": None if images is None else str(images.absolute())}
    text = json.dumps(remembered() | {name: entry}, indent=2) + "\n"
    _list().parent.mkdir(parents=True, exist_ok=True)
    with written_aside(_list()) as part:
        part.write_text(text, encoding="utf-8")


def _list() -> Path:
    return cache_folder() / "datasets.json"
