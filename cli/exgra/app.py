"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from exgra.commands import bench, config, data
from exgra.commands.ablate import ablate
from exgra.commands.align import align
from exgra.commands.chat import chat
from exgra.commands.components import affinities, estimators, graphs, losses, noises, solvers
from exgra.commands.doctor import doctor
from exgra.commands.evaluate import evaluate
from exgra.commands.export import convert, export
from exgra.commands.match import match
from exgra.commands.models import models
from exgra.commands.predict import predict
from exgra.commands.report import report
from exgra.commands.serve import serve
from exgra.commands.train import train

app = typer.Typer(
    name="exgra",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="In a clone, `./exgra test` runs the tests and `./exgra docs` builds the documentation.",
)
MODELS, MATCHING, PARTS, SETUP = "Models", "Matching", "Parts", "Setup"
app.command(rich_help_panel=MODELS)(train)
app.command(rich_help_panel=MODELS)(ablate)
app.command(rich_help_panel=MODELS)(report)
app.command("eval", rich_help_panel=MODELS)(evaluate)
app.command(rich_help_panel=MODELS)(predict)
app.command(rich_help_panel=MODELS)(chat)
app.command(rich_help_panel=MODELS)(serve)
app.command(rich_help_panel=MODELS)(export)
app.command(rich_help_panel=MODELS)(convert)
app.command(rich_help_panel=MATCHING)(match)
app.command(rich_help_panel=MATCHING)(align)
app.command(rich_help_panel=PARTS)(solvers)
app.command(rich_help_panel=PARTS)(estimators)
app.command(rich_help_panel=PARTS)(noises)
app.command(rich_help_panel=PARTS)(graphs)
app.command(rich_help_panel=PARTS)(affinities)
app.command(rich_help_panel=PARTS)(losses)
app.command(rich_help_panel=PARTS)(models)
app.add_typer(bench.app, name="bench", rich_help_panel=MATCHING)
app.add_typer(config.app, name="config", rich_help_panel=SETUP)
app.add_typer(data.app, name="data", rich_help_panel=SETUP)
app.command(rich_help_panel=SETUP)(doctor)


def show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"exgra {version('exgra')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train medical vision-language models with graph alignment, and swap any part of it by name."""
