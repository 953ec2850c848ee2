"""`exgra bench loader`."""

from __future__ import annotations

from typing import Annotated

import typer

from exgra.options import Debug, Json, Overrides, source_and_overrides
from exgra.screen import percent, put_json, put_table


def loader(
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A preset, a YAML file, or a run's folder; `demo` if not given."),
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Processes that read ahead; may be repeated. 0 and 1 if not given."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps, after two that are not.")] = 10,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure which share of training waits for data: reading, decoding and packing."""
    from medmllm.bench.waiting import waiting
    from medmllm.settings.load import load_config

    source, words = source_and_overrides(config, overrides)
    configs = [load_config(source or "demo", [*words, f"engine.workers={count}"]) for count in workers or (0, 1)]
    runs = [waiting(chosen, steps) for chosen in configs]
    if as_json:
        put_json({"config": source or "demo", "overrides": words, "steps": steps, "runs": runs})
        return
    lines = [(str(run["workers"]), f"{run['seconds']:.3g}", percent(run["waiting"])) for run in runs]
    put_table(("workers", "step s", "waiting for data"), lines)
