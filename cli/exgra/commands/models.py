"""`exgra models`: what a model can be made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from exgra.options import Debug, Json
from exgra.screen import put, put_json, put_table

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="Show one checkpoint in full.", show_default=False)]


def models(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List what `model.*` takes: families, what the tests load of each, and known sizes; or describe a checkpoint."""
    from medmllm.model.listing import families, known_models

    known = known_models()
    if name is not None:
        put_one(pick_model(name, known), as_json)
    elif as_json:
        put_json({"families": families(), "known": known})
    else:
        put_table(["setting", "family", "tested with"], [tuple(row.values()) for row in families()])
        put("\nSizes known without a download; other checkpoints of these families work too.\n")
        put_table(["checkpoint", "family", "parameters", "presets"], [row(model) for model in known])


def row(model: dict[str, Any]) -> tuple[str, str, str, str]:
    count = len(model["presets"])
    return model["name"], model["family"], size_in_words(model["parameters"]), str(count or "-")


def size_in_words(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def pick_model(name: str, known: list[dict[str, Any]]) -> dict[str, Any]:
    from graphalign.names import nearest
    from medmllm.errors import ConfigError

    found = {model["name"]: model for model in known}
    if name in found:
        return found[name]
    hint = f"exgra models {nearest(name, found, cutoff=0.5)}".rstrip()
    raise ConfigError(f"the sizes of {name} are not known; they are read when it is opened", hint=hint)


def put_one(model: dict[str, Any], as_json: bool) -> None:
    if as_json:
        put_json(model)
        return
    put(f"{model['key']}={model['name']}\n")
    told = {"family": model["family"], "parameters": f"{model['parameters']:,}", **model["sizes"]}
    told["presets"] = ", ".join(model["presets"]) or "none"
    put_table(["what", "value"], [(key.replace("_", " "), value) for key, value in told.items()])
