"""`exgra config`: look at, copy and check configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import with_command
from exgra.options import Debug, Json, Overrides, Source, source_and_overrides
from exgra.screen import put, put_json, put_table, say
from medmllm.errors import command_line

app = typer.Typer(no_args_is_help=True, help="Show, copy and check configurations.")


@app.command("list")
def list_(as_json: Json = False, debug: Debug = False) -> None:
    """List the presets."""
    from medmllm.settings.load import presets

    found = {name: first_comment(path) for name, path in presets().items()}
    if as_json:
        put_json([{"name": name, "about": about} for name, about in found.items()])
    else:
        put_table(["name", "about"], list(found.items()))


@app.command()
def show(config: Source = "demo", overrides: Overrides = None, as_json: Json = False, debug: Debug = False) -> None:
    """Print a configuration with every setting."""
    from medmllm.settings.load import dump, load_config

    source, words = source_and_overrides(config, overrides)
    loaded = load_config(source or "demo", words)
    if as_json:
        put_json(loaded.model_dump(mode="json"))
    else:
        put(dump(loaded), end="")


@app.command()
def cp(
    config: Source,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; must not exist.")],
    debug: Debug = False,
) -> None:
    """Copy a preset, with every setting, to a file to edit."""
    from medmllm.errors import ConfigError
    from medmllm.settings.load import dump, load_config

    text = dump(load_config(config))
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{to} exists already", hint="choose another name") from None
    except FileNotFoundError:
        raise ConfigError(f"the folder {to.parent} does not exist", hint=f"mkdir -p {to.parent}") from None
    say(f"{to} written; train with it: {with_command(command_line('train', to))}")


@app.command()
def validate(config: Source = "demo", overrides: Overrides = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check a configuration; exit 2 if anything is wrong with it."""
    from medmllm.planning.plan import check_config
    from medmllm.settings.load import load_config

    source, words = source_and_overrides(config, overrides)
    check_config(load_config(source or "demo", words))
    if as_json:
        put_json({"valid": True, "problems": []})
    else:
        put("the configuration is valid")


@app.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON schema of a configuration, for editors."""
    from medmllm.settings.load import schema as make

    put_json(make())


def first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
