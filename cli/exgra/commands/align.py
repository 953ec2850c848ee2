"""`exgra align`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import percent, put_json, put_table, say, warn

if TYPE_CHECKING:
    import numpy as np

    from graphalign.files.embeddings import Embeddings

Table = Annotated[
    Path, typer.Argument(metavar="FILE", help="A matrix (rows, width), as `exgra match` reads it.", show_default=False)
]


def align(
    first: Table,
    second: Table,
    known: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Known pairs: a .csv file with two columns, ids or row numbers; or a .npy file of numbers (p, 2).",
            show_default=False,
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How often to match and fit again.")] = 10,
    ridge: Annotated[float, typer.Option(help="Ridge penalty of the map, for rows of unit length.")] = 0.5,
    solver: Annotated[
        str,
        typer.Option(
            metavar="auto|faq|faq_first|lap",
            help="Rounds that read how alike the rows of a table are: faq all, faq_first the first, lap none. auto is "
            "faq below 20 known pairs, faq_first below 25, then lap.",
        ),
    ] = "auto",
    truth: Annotated[
        str | None,
        typer.Option(metavar="FILE|identity", help="The true pairs, to report accuracy.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write tables and a picture; new or empty.", show_default=False),
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw `aligned.png` too.")] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if the result is not trusted; files are written anyway.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Align two tables of any widths from few known pairs, and say whether to trust the result."""
    from exgra.commands.match import check_pictures
    from exgra.matching.aligned import summary, write_aligned
    from exgra.matching.folder import check_free

    if out is not None:
        check_free(out)
        check_pictures(picture)
    sides, pairs, true = read_inputs(first, second, known, truth)
    found = aligned(*sides, pairs, rounds=rounds, ridge=ridge, solver=solver)
    told = summary(sides, found, true, {"rounds": rounds, "ridge": ridge, "solver": solver})
    if out is not None:
        with writing_to(out):
            write_aligned(out, sides, found, true, told, picture=picture)
    put_json({**told, "out": str(out) if out else None}) if as_json else put_aligned(told, out)
    if strict and not told["trusted"]:
        raise typer.Exit(1)


def read_inputs(
    first: Path, second: Path, known: str, truth: str | None
) -> tuple[tuple[Embeddings, Embeddings], np.ndarray, np.ndarray | None]:
    """Both tables, the known pairs `(p, 2)`, and the true column of each row."""
    import numpy as np

    from exgra.commands.match import read_all
    from graphalign.errors import DataError
    from graphalign.files.truth import ALONE, true_columns

    left, right = read_all([first, second])
    columns = true_columns(known, left, right, "--known")
    rows = np.flatnonzero(columns != ALONE)
    if not len(rows):
        raise DataError("needed known pairs, one at least; the file has none", where=known)
    true = None if truth is None else true_columns(truth, left, right)
    return (left, right), np.stack([rows, columns[rows]], 1), true


def aligned(left: Embeddings, right: Embeddings, pairs: np.ndarray, **settings: Any) -> Any:
    import graphalign
    from graphalign.files.room import check_room
    from medmllm.errors import ConfigError

    itemsize = max(left.x.itemsize, right.x.itemsize)
    check_room(8.0 * itemsize * len(left.x) * len(right.x), f"aligning {len(left.x)} with {len(right.x)} rows")
    try:
        return graphalign.align(left.x, right.x, pairs, **settings)
    except ValueError as error:
        raise ConfigError(str(error), hint="exgra align --help") from None


def put_aligned(told: dict[str, Any], out: Path | None) -> None:
    """The result in one table, and in words what is not to be trusted."""
    head = ["rows", "columns", "known", "pairs", "found again", "reproduced", "trusted"]
    held_out, reproduced = ("-" if told[key] is None else percent(told[key]) for key in ("held_out", "reproduced"))
    row = [told["files"][0]["name"], told["files"][1]["name"], told["known"], told["pairs"], held_out]
    row += [reproduced, "yes" if told["trusted"] else "NO"]
    right = "accuracy" in told
    put_table([*head, *(["right"] if right else [])], [[*row, *([percent(told["accuracy"])] if right else [])]])
    if not told["trusted"]:
        warn(
            f"do not use these pairs: {'; '.join(told['doubts'])}. Partners are missing, the contents differ, the "
            "features are weak, or too few pairs are known"
        )
    if out is not None:
        say(f"written to {out}")
