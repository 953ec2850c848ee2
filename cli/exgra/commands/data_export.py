"""`exgra data export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import writing_to
from exgra.options import AllowOutside, Debug, ImageFolder, Json, RowLanguage, ScanWindow, data_section
from exgra.screen import put_json, put_table, say, warn
from medmllm.errors import command_line


def export_questions(
    source: Annotated[str, typer.Argument(metavar="DATA", help="`embedded`, or a file or folder of data.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the files.")],
    layout: Annotated[str, typer.Option("--format", help="Whose input files: `radfm` or `biomedgpt`.")],
    split: Annotated[
        str | None, typer.Option(help="Only this split; all of the data if not given.", show_default=False)
    ] = None,
    images: ImageFolder = None,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    window: ScanWindow = "auto",
    slices: Annotated[int, typer.Option(min=1, help="Slices, shown together, of a volume that a row names whole.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the questions for RadFM or BiomedGPT, in the files that their own scripts read."""
    from medmllm.data.comparators.export import export_data
    from medmllm.data.sources import open_source

    config = data_section(
        source,
        images=images,
        allow_outside=allow_outside,
        language=language,
        window=window,
        slices=slices,
        volume="sample",
    )
    opened = open_source(config, trained=False)
    for line in opened.warnings:
        warn(line)
    with writing_to(out):
        found = export_data(opened, out, layout, split=split)
    for line in found["warnings"]:
        warn(line)
    if as_json:
        put_json(found)
    else:
        put_table(["split", "rows"], list(found["rows"].items()))
    say(f"{', '.join(found['files'])} written to {out}")
    asked = out / "questions" / f"{'test' if 'test' in found['rows'] else next(iter(found['rows']))}.jsonl"
    say(f"score the answers: {command_line('eval', '--references', asked, '--predictions', 'ANSWERS')}")
