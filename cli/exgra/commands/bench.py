"""`exgra bench`: figures of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from exgra.commands import bench_loader, bench_train
from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import put, put_json, put_table, say

app = typer.Typer(no_args_is_help=True, help="Measure solvers and estimators, beside other libraries.")

Quick = Annotated[bool, typer.Option("--quick", help="The smallest cases only, in seconds: a try, not a measurement.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every problem and of all noise.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json", help="Write the document there, and its tables beside it as .md.", show_default=False
    ),
]


@app.command()
def solvers(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="`linear`, `sinkhorn`, `quadratic` or `growth`; may be repeated."),
    ] = None,
    quick: Quick = False,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Time the solvers beside lapx, scipy, pygmtools and POT, on one thread."""
    run_benchmark("solvers", only, seed, out, quick=quick, as_json=as_json)


@app.command()
def gradients(
    quick: Quick = False,
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare every estimator with the exact gradient of small problems."""
    run_benchmark("gradients", None, seed, out, quick=quick, as_json=as_json)


def run_benchmark(
    kind: str, only: list[str] | None, seed: int, out: Path | None, *, quick: bool, as_json: bool
) -> None:
    from graphalign.bench.run import PARTS, in_own_process
    from medmllm.errors import ConfigError

    known = list(PARTS[kind])
    unknown = [part for part in only or [] if part not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not a part of this benchmark; known are {', '.join(known)}", where="--only")
    if out is not None and out.suffix != ".json":
        raise ConfigError(f"the document is JSON, so its file ends in .json; got {out}", where="--out")
    document = in_own_process(kind, [part for part in known if not only or part in only], seed, quick=quick)
    if out is not None:
        write_document(document, out)
    put_json(document) if as_json else put_tables(document)


def write_document(document: dict[str, Any], out: Path) -> None:
    """Write the document, and its tables beside it."""
    from graphalign.bench.tables import markdown

    text = f"# {document['kind'].capitalize()}\n\n{markdown(document)}"
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        out.with_suffix(".md").write_text(text, encoding="utf-8")
    say(f"written to {out} and {out.with_suffix('.md')}")


def put_tables(document: dict[str, Any]) -> None:
    from graphalign.bench.tables import about, tables

    for table in tables(document):
        put(f"{table.title}\n")
        put_table(table.head, table.body)
        put(f"\n{table.note}\n" if table.note else "")
    put(about(document))


app.command("train")(bench_train.time_training)
app.command()(bench_loader.loader)
