"""`exgra export` and `exgra convert`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import put_json, say

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; must not exist.")]


class Form(StrEnum):
    hf = "hf"
    lora = "lora"
    merged = "merged"


class Program(StrEnum):
    vllm = "vllm"


class Names(StrEnum):
    v4 = "v4"
    v5 = "v5"


Layout = Annotated[
    Names, typer.Option(help="Names of weights and files: `v4` for transformers 4 and 5 and vLLM, `v5` for 5 alone.")
]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    out: Out,
    form: Annotated[
        Form,
        typer.Option("--format", help="`hf`, a whole stock model; `lora`, adapters; `merged`, adapters in their base."),
    ] = Form.hf,
    layout: Layout = Names.v4,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With `--format lora`: write the model below the adapters here."),
    ] = None,
    server: Annotated[
        Program | None, typer.Option("--for", help="Refuse what this server's LLaVA cannot open.", show_default=False)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's model, with a model card, for transformers, vLLM or peft."""
    from medmllm.interop.export import base_name
    from medmllm.interop.export import export as write

    with making(out, as_json):
        write(run, out, form=form.value, layout=layout.value, base=base, server=server.value if server else None)
    if form is Form.lora and base_name(out) is None:
        say(
            "warning: no folder holds the model below these adapters, since the run's model is made of parts; only "
            "exgra opens them (export again with --base FOLDER, which writes that model for transformers and peft)"
        )


def convert(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder in the layout of LLaVA's own code.")],
    out: Out,
    vision_tower: Annotated[
        str | None, typer.Option(metavar="NAME", help="The tower, where not the one that `config.json` names.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The language model that delta weights are added to.")
    ] = None,
    layout: Layout = Names.v4,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn original LLaVA or LLaVA-Med weights into a stock LLaVA of transformers."""
    from medmllm.interop.convert import convert as write

    with making(out, as_json):
        write(model, out, tower=vision_tower, base=base, layout=layout.value)


@contextmanager
def making(out: Path, as_json: bool) -> Iterator[None]:
    """Report what lies in the folder once the work inside has made it."""
    from exgra.progress import quiet_libraries

    quiet_libraries()
    with writing_to(out):
        yield
    if as_json:
        put_json({"folder": str(out), "files": sorted(path.name for path in out.iterdir())})
    else:
        say(f"{out} written")
