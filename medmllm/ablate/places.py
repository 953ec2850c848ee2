"""Which folder holds the run of a configuration, also one that another version of ExGra began.

A run's name depends only on the settings that differ from their defaults, so that a new setting renames no run. The
name is not enough where a default has changed since, and versions before named runs by all of their settings. So the
settings that a folder was begun with decide: `config.yaml` holds them all, and a setting that it does not have counts
as at its default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medmllm.errors import ConfigError
from medmllm.settings.load import read_config
from medmllm.settings.schema import Config


def key_of_settings(config: Config) -> str:
    """Return the name of a configuration's run: equal settings, equal name, whatever the run is called.

    Example:
        >>> key_of_settings(Config(name="one")) == key_of_settings(Config(name="other"))
        True
        >>> key_of_settings(Config(seed=0)) == key_of_settings(Config(seed=1))
        False
    """
    return _digest(config.model_dump(mode="json", exclude={"name"}, exclude_defaults=True))


@dataclass
class Places:
    """The folders of a sweep's runs.

    Args:
        cells: The folder that holds them.
    """

    cells: Path
    _begun: dict[str, Config | None] = field(default_factory=dict)

    def name_of(self, config: Config) -> str:
        """Return the name of the folder that holds the run of a configuration, or that it is to be run in."""
        key = key_of_settings(config)
        if self._holds(key, config):
            return key
        for name in self._others(key):
            if self._is_run_of(name, config):
                return name
        if not (self.cells / key).exists():
            return key
        return f"{key}-{_digest(config.model_dump(mode='json', exclude={'name'}))[:8]}"

    def _holds(self, key: str, config: Config) -> bool:
        """Whether the folder of this name is the configuration's; one that has not got as far as its settings is."""
        there = (self.cells / key).exists()
        return there and (not (self.cells / key / "config.yaml").exists() or self._is_run_of(key, config))

    def _others(self, key: str) -> list[str]:
        if not self.cells.is_dir():
            return []
        found = (path.parent.name for path in self.cells.glob("*/config.yaml"))
        return sorted(name for name in found if name != key)

    def _is_run_of(self, name: str, config: Config) -> bool:
        if name not in self._begun:
            self._begun[name] = begun_with(self.cells / name)
        saved = self._begun[name]
        if saved is None:
            return False
        window = {"window": config.data.window}  # a run notes what its data says there
        data = saved.data.model_copy(update=window if config.data.window == "auto" else {})
        return saved.model_copy(update={"name": config.name, "data": data}) == config


def begun_with(folder: Path) -> Config | None:
    """Return the settings that a run was begun with; None where this version cannot read them."""
    try:
        return Config.model_validate_json(json.dumps(read_config(folder / "config.yaml")))
    except (ConfigError, ValidationError, OSError):
        return None


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
