"""`exgra train`."""

from __future__ import annotations

from typing import Annotated

import typer


def train(
    config: Annotated[str | None, typer.Argument(help="A preset, a YAML file, or a run's folder.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Train a model and evaluate it."""
