"""`exgra match`."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import percent, put_json, put_table, say

if TYPE_CHECKING:
    import numpy as np

    from graphalign.files.embeddings import Embeddings
    from graphalign.files.pairing import Pairing, Parts

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGES TEXTS [MORE...]",
        help="Matrices (samples, width) as .npy, .pt, .csv or .parquet; of more than two files every two are matched.",
        show_default=False,
    ),
]


def match(
    files: Files,
    solver: Annotated[str, typer.Option(metavar="SPEC", help="Matching solver; see `exgra solvers`.")] = "lap",
    graph: Annotated[
        str, typer.Option(metavar="SPEC", help="Graph of each file, read by solvers like `faq`; see `exgra graphs`.")
    ] = "knn(k=5)",
    affinity: Annotated[str, typer.Option(metavar="SPEC", help="Scores of pairs; see `exgra affinities`.")] = "cosine",
    unmatched: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            help="Score of leaving one sample alone: a pair must be worth more than two of it.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(metavar="FILE|identity", help="The true pairs, to report accuracy.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write tables and pictures; new or empty.", show_default=False),
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw `matching.png` too.")] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Match your own embeddings: who belongs to whom, with which score, and how sure it is."""
    from exgra.matching.folder import check_free
    from exgra.matching.summary import matching_summary, pair_figures

    if out is not None:
        check_free(out)
        check_pictures(picture)
    parts = build_parts(solver, graph, affinity, unmatched)
    sides = read_all(files)
    found = [pair_two(first, second, parts, truth) for first, second in combinations(sides, 2)]
    told = matching_summary(sides, parts, [pair_figures(pairing, true) for pairing, true in found])
    if out is not None:
        with writing_to(out):
            write_matchings(out, found, told, picture=picture)
    put_json({**told, "out": str(out) if out else None}) if as_json else put_pairs(told, out)


def check_pictures(wanted: bool) -> None:
    """Says that pictures cannot be drawn before anything is computed."""
    from medmllm.errors import MissingExtraError
    from medmllm.plots.style import figure

    try:
        wanted and figure(1, 1)
    except MissingExtraError as error:
        hint = f"{error.hint}, or leave the picture out with --no-picture"
        raise MissingExtraError(error.message, where="--picture", hint=hint) from None


def build_parts(solver: str, graph: str, affinity: str, unmatched: float | None) -> Parts:
    from graphalign import build
    from graphalign.files.pairing import Parts
    from medmllm.errors import ConfigError

    if unmatched is not None and not isfinite(unmatched):
        told = f"the score of leaving a sample unmatched must be a finite number, not {unmatched}"
        raise ConfigError(told, where="--unmatched", hint="--unmatched 0.2")
    made = {}
    for kind, text, listing in (
        ("solver", solver, "solvers"),
        ("graph", graph, "graphs"),
        ("affinity", affinity, "affinities"),
    ):
        try:
            made[kind] = build(kind, text)
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error), where=f"--{kind}", hint=f"exgra {listing}") from None
    return Parts(**made, unmatched=unmatched)


def read_all(files: list[Path]) -> list[Embeddings]:
    from graphalign.files.embeddings import read_embeddings
    from medmllm.errors import ConfigError

    if len(files) < 2:
        raise ConfigError("two files are needed, and one was given", hint="exgra match images.npy texts.npy")
    stems = Counter(path.stem for path in files)
    names = [path.stem if stems[path.stem] == 1 else f"{path.stem}{i}" for i, path in enumerate(files, 1)]
    return [read_embeddings(path, name) for path, name in zip(files, names, strict=True)]


def pair_two(
    first: Embeddings, second: Embeddings, parts: Parts, truth: str | None
) -> tuple[Pairing, np.ndarray | None]:
    from graphalign.files.pairing import pair
    from graphalign.files.truth import true_columns

    true = None if truth is None else true_columns(truth, first, second)
    return pair(first, second, parts), true


def write_matchings(
    out: Path, found: list[tuple[Pairing, np.ndarray | None]], told: dict[str, Any], *, picture: bool
) -> None:
    """Tables and pictures; with more than two files a folder for each pair."""
    from exgra.matching.folder import write_pairing, write_summary

    for pairing, true in found:
        folder = out if len(found) == 1 else out / pairing.name
        write_pairing(folder, pairing, true)
        if picture:
            from exgra.matching.picture import matching_picture

            matching_picture(pairing, true, folder / "matching.png")
    write_summary(out, told)


def put_pairs(told: dict[str, Any], out: Path | None) -> None:
    head = ["rows", "columns", "matched", "mutual", "mean score", "objective", "ms"]
    known = any("accuracy" in pair for pair in told["pairs"])
    put_table([*head, *(["right"] if known else [])], [cells(pair, known) for pair in told["pairs"]])
    for pair in told["pairs"]:
        if pair["converged"] is False:
            say(f"warning: {told['solver']} stopped before its tolerance; residual {pair['residual']:.2g}")
    if out is not None:
        say(f"written to {out}")


def cells(pair: dict[str, Any], known: bool) -> list[str]:
    matched, mutual = f"{pair['matched']}", f"{pair['mutual']}"
    score, total = (format(pair[key], form) if pair[key] is not None else "-"
                    for key, form in (("mean_score", ".3f"), ("objective", ".4g")))  # fmt: skip
    right = [f"{percent(pair['accuracy'])} of {pair['of']}"] if known else []
    return [pair["rows"], pair["columns"], matched, mutual, score, total, f"{pair['ms']:.1f}", *right]
