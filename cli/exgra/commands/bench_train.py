"""`exgra bench train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import put, put_json, put_table, say

if TYPE_CHECKING:
    from medmllm.bench.step import Row


def time_training(
    size: Annotated[str, typer.Option(help="`tiny`, `small`, `1b`, `7b` or `7b-336`; weights are random.")] = "small",
    batch: Annotated[int, typer.Option(min=2, help="Samples per step.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps of each variant, each on another batch.")] = 5,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before them.")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(metavar="VARIANT", help="Measure this variant; may be repeated.")
    ] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Recompute activations.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the layers by torch.compile.")] = False,
    solver: Annotated[str, typer.Option(metavar="SPEC", help="The alignment's solver.")] = "hungarian",
    images: Annotated[
        int, typer.Option(min=1, help="Images of a sample: any number up to this, all equally often.")
    ] = 1,
    peak: Annotated[
        float | None,
        typer.Option(min=0, help="The device's peak TFLOP/s, to report the share in use.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="`auto`, `cpu` or `cuda`.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of lengths, words and weights.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the document there.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the variants of a training step: padded, three passes, packed, aligned."""
    import torch

    from medmllm.bench.step import SIZES, VARIANTS, Setup, measure_steps
    from medmllm.planning.plan import check_config, resolve_device
    from medmllm.settings.load import load_config

    one_of("--size", size, list(SIZES))
    for variant in only or ():
        one_of("--only", variant, list(VARIANTS))
    check_config(load_config("demo", flags={"align.solver": solver, "train.batch_size": batch, "device": device}))
    chosen = tuple(name for name in VARIANTS if not only or name in only)
    flops = None if peak is None else peak * 1e12
    setup = Setup(size, batch, steps, warmup, seed, checkpointing, compiled, solver, flops, images, chosen)
    document = measure_steps(setup, torch.device(resolve_device(device)), heard)
    if out is not None:
        with writing_to(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        say(f"written to {out}")
    put_json(document) if as_json else put_document(document)


def one_of(option: str, value: str, known: list[str]) -> None:
    from medmllm.errors import ConfigError

    if value not in known:
        raise ConfigError(f"{value} is not known here; known are {', '.join(known)}", where=option)


def heard(row: Row) -> None:
    say(f"{row.variant}: {row.seconds:.3g} s")


def put_document(document: dict[str, Any]) -> None:
    from medmllm.bench.tables import HEAD, about, rows

    put_table(HEAD, rows(document))
    put()
    for name, ratio in document["ratios"].items():
        put(f"{name:36} {ratio:.2f}")
    put(f"\n{about(document)}")
