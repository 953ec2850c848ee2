"""`exgra data`: what a data set holds, and whether it is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.options import Debug, Json
from exgra.screen import put_json, put_table, say

if TYPE_CHECKING:
    from medmllm.config import DataConfig

app = typer.Typer(no_args_is_help=True, help="Describe and check data sets.")
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="`embedded`, or a file or folder in any of the data formats.")
]
Validation = Annotated[
    str | None, typer.Option(metavar="FILE", help="A second file, to validate on, and to test on if there is no third.")
]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let image paths leave the file's folder.")]


@app.command()
def describe(
    source: Data = "embedded",
    validation: Validation = None,
    allow_outside: Outside = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Count rows, people, images, questions and answers."""
    from medmllm.data.describe import describe
    from medmllm.data.sources import open_source

    found = describe(open_source(section(source, validation, allow_outside)))
    if as_json:
        put_json(found)
    else:
        put_description(found)


@app.command()
def validate(
    source: Data = "embedded",
    validation: Validation = None,
    allow_outside: Outside = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every row and every image; exit 3 if anything is wrong."""
    from medmllm.data.validate import validate

    report = validate(section(source, validation, allow_outside))
    for warning in report.warnings:
        say(f"warning: {warning}")
    if as_json:
        put_json(report.to_dict())
    elif report.problems:
        put_table(["where", "field", "problem"], [(p.where, p.field, f"{p.message} {p.hint}") for p in report.problems])
    say(f"{report.rows} rows, {report.images} images, {len(report.problems)} problems")
    raise typer.Exit(3 if report.problems else 0)


def section(source: str, validation: str | None, allow_outside: bool) -> DataConfig:
    from medmllm.config import DataConfig

    return DataConfig(source=source, validation=validation, allow_outside=allow_outside)


def put_description(found: dict[str, Any]) -> None:
    splits = found["splits"].items()
    rows = [(name, s["rows"], s["subjects"], s["images"], len(s["kinds"]), words(s)) for name, s in splits]
    put_table(["split", "rows", "people", "images", "kinds", "words in a caption"], rows)
    for name, split in splits:
        print(f"\n{name}")
        kinds = [
            (kind, k["rows"], k["different_answers"], ", ".join(k["answers"])) for kind, k in split["kinds"].items()
        ]
        put_table(
            ["  question kind", "rows", "answers", "most frequent first"], [(f"  {k}", *rest) for k, *rest in kinds]
        )
    print(f"\norigin and licence: {found['attribution']}")
    for warning in found["warnings"]:
        say(f"warning: {warning}")


def words(split: dict[str, Any]) -> str:
    lengths = split["caption_words"]
    return "{least} to {most}, median {median:g}".format(**lengths) if lengths else "-"
