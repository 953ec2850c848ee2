"""In which display window a model is shown scans: the one it was trained with, unless another is requested."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from medmllm.data.images import is_scan
from medmllm.data.scans.window import AUTO, meaning, window_limits
from medmllm.errors import ConfigError
from medmllm.settings.load import load_config

FIELD = "scans.json"  # beside an exported model: {"window": ...}


def check_window(wanted: str | None) -> None:
    """Make sure that `--window` names a window.

    Raises:
        ConfigError: it does not.
    """
    try:
        window_limits(wanted or AUTO)
    except ValueError as cause:
        raise ConfigError(str(cause), where="--window", hint="--window lung, or --window 40/400") from cause


def own_window(model: Path) -> str | None:
    """The window that a model was trained with, as its run or its export tells it; None where neither does."""
    runs = [model, model.parent] if model.name == "model" else [model]
    for folder in runs:
        if (folder / "config.yaml").exists():
            return load_config(str(folder / "config.yaml")).data.window
    told = model / FIELD
    return str(json.loads(told.read_text("utf-8"))["window"]) if told.exists() else None


def write_window(model: Path, window: str) -> None:
    """Keep the window beside a model that leaves its run."""
    (model / FIELD).write_text(json.dumps({"window": window}) + "\n", encoding="utf-8")


def window_line(wanted: str | None, own: str | None) -> str:
    """The remark where scans are shown: which window, and who chose it."""
    if wanted is not None:
        return f"scans are shown in the window {wanted}, as --window says"
    if own is not None:
        meant = meaning(own)
        return f"scans are shown in the window {own}{meant}, as in training (--window NAME shows them in another)"
    return (
        "warning: in which window the model was shown scans in training is not known; each is shown in the one that "
        "its file asks for (--window NAME chooses)"
    )


def any_scan(named: Iterable[tuple[str, Path]]) -> bool:
    """Whether an image is DICOM or NIfTI; each is its name and its path."""
    return any(is_scan(name, path) for name, path in named)
