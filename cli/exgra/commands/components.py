"""`exgra solvers`, `exgra estimators` and so on: what can be swapped, and with which settings."""

from __future__ import annotations

import re
from inspect import Parameter, getdoc, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.options import Debug, Json
from exgra.screen import put, put_json, put_table

if TYPE_CHECKING:
    from graphalign.errors import PackageError

COMMANDS = {"affinity": "affinities", "loss": "losses"}  # of the other kinds: an s at the end
Name = Annotated[str | None, typer.Argument(metavar="NAME", help="Show one in full.", show_default=False)]


def solvers(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the matching solvers, or describe one."""
    show_parts("solver", name, as_json)


def estimators(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the gradient estimators, or describe one."""
    show_parts("estimator", name, as_json)


def noises(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the noises that estimators draw, or describe one."""
    show_parts("noise", name, as_json)


def graphs(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the kinds of graph, or describe one."""
    show_parts("graph", name, as_json)


def affinities(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the affinities, which score pairs of nodes and of edges, or describe one."""
    show_parts("affinity", name, as_json)


def losses(name: Name = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the losses, or describe one."""
    show_parts("loss", name, as_json)


def show_parts(kind: str, name: str | None, as_json: bool) -> None:
    from graphalign import broken_components, components

    found = [part_facts(kind, key, part) for key, part in components(kind).items()]
    found += [broken_facts(key, error) for key, error in broken_components(kind).items()]
    found.sort(key=lambda part: part["name"])
    if name is not None:
        put_one(pick_part(kind, name, found), as_json)
    elif as_json:
        put_json(found)
    else:
        put_table(["name", "what it does"], [(part["name"], part["summary"]) for part in found])


def broken_facts(name: str, error: PackageError) -> dict[str, Any]:
    """A component of another package that cannot be used, and why."""
    return {"name": name, "summary": f"broken: {error.message}", "error": error.message, "hint": error.hint}


def part_facts(kind: str, name: str, part: Any) -> dict[str, Any]:
    from graphalign.compatibility import order_of

    text = getdoc(part) or ""
    return {
        "name": name,
        "spec": spec(name, part),
        "order": order_of(part) if kind == "solver" else None,
        "summary": without_mathematics((text.splitlines() or [""])[0]),
        "description": text,
    }


def without_mathematics(line: str) -> str:
    """A line without its formulas, which are for the description."""
    return re.sub(r"(?:, | of )?\$[^$]*\$| \(\$[^$]*\$\)", "", line)


def spec(name: str, part: Any) -> str:
    """The component with all its settings, as `--solver` and `--estimator` take it."""
    settings = [(key, default) for key, default in defaults(part) if default is not Parameter.empty]
    return f"{name}({', '.join(f'{key}={as_spec(value)}' for key, value in settings)})"


def as_spec(value: object) -> str:
    text = repr(value)
    return text[0].lower() + text[1:] if hasattr(value, "__dataclass_fields__") else text


def defaults(part: Any) -> list[tuple[str, Any]]:
    return [(key, parameter.default) for key, parameter in signature(part).parameters.items()]


def pick_part(kind: str, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    from graphalign import build
    from graphalign.errors import ConfigError, PackageError

    plain, hint = name.lower().replace("_", ""), f"exgra {COMMANDS.get(kind, f'{kind}s')}"
    for part in found:
        if part["name"].lower().replace("_", "") == plain and "error" not in part:
            return part
    try:
        build(kind, name)  # raises with the nearest names, or says why a package cannot be used
    except PackageError:
        raise
    except ValueError as error:
        raise ConfigError(str(error), hint=hint) from None
    raise ConfigError(f"{name} is a call; give its bare name", hint=hint)


def put_one(part: dict[str, Any], as_json: bool) -> None:
    if as_json:
        put_json(part)
    else:
        put(f"{part['spec']}\n\n{part['description']}")
