"""`exgra data subset` and `exgra data split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import with_command
from exgra.options import AllowOutside, Debug, Json, RowLanguage
from exgra.screen import put_json, put_table, say, warn
from graphalign.counts import count_of
from medmllm.errors import command_line

File = Annotated[Path, typer.Argument(metavar="FILE", help="A data file in any of the formats.")]
Seed = Annotated[int, typer.Option(help="Which rows are chosen.")]


def subset(
    file: File,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, of the same kind; must not exist.")],
    fraction: Annotated[float, typer.Option(help="Share of the rows, above 0 and up to 1.")],
    by: Annotated[
        str, typer.Option(help="Keep these in proportion: `kind`, `answer`, `modality`, or `none`.")
    ] = "kind",
    seed: Seed = 0,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a share of a file's rows: 10 % is part of 40 %, and every kind keeps its share to within one row.

    The choice depends on ids and seed alone, so it is the same on every machine.
    """
    from medmllm.data.cutting import STRATA, write_subset
    from medmllm.errors import ConfigError

    if not 0 < fraction <= 1:
        raise ConfigError(f"the share must be above 0 and at most 1 (got {fraction})", where="--fraction")
    if by not in STRATA:
        raise ConfigError(f"--by must be one of {', '.join(STRATA)} (got {by!r})", where="--by")
    found = write_subset(
        file, out, fraction, seed=seed, by=by, allow_outside=allow_outside, language=language, on_warning=warn
    )
    if as_json:
        put_json(found)
    else:
        put_table([by, "rows", "of"], [(name, *counts) for name, counts in found["strata"].items()])
    say(f"{found['rows']} of {count_of(found['of'], 'row')} written to {out}")
    say_next(out, found["settings"])


def split(
    file: File,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where train, validation and test are written.")],
    validation: Annotated[float, typer.Option(help="Share of the rows to validate on.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the rows to test on.")] = 0.2,
    seed: Seed = 0,
    allow_outside: AllowOutside = False,
    language: RowLanguage = "en",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write training, validation and test rows into separate files; no person is in two of them.

    Where no row names a person, images are split instead.
    """
    from medmllm.data.cutting import write_split

    shares = {"validation": validation, "test": test}
    found = write_split(
        file, folder, **shares, seed=seed, allow_outside=allow_outside, language=language, on_warning=warn
    )
    if as_json:
        put_json(found)
    else:
        rows = [(name, entry["rows"], entry["subjects"], entry["file"]) for name, entry in found.items()]
        put_table(["split", "rows", f"{found['train']['counted']}", "file"], rows)
    say_next(folder, found["train"]["settings"])


def say_next(source: Path, settings: list[str]) -> None:
    """Print the command that trains with what was written."""
    say(f"train with it: {with_command(command_line('train', f'data.source={source}', *settings))}")
