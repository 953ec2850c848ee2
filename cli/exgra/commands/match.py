"""`exgra match`."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from exgra.failure import writing_to
from exgra.interrupt import Stop, stopping
from exgra.options import Debug, Json
from exgra.progress import matching_progress
from exgra.screen import percent, put_json, put_table, say
from graphalign.counts import count_of

if TYPE_CHECKING:
    import numpy as np

    from graphalign.files.choice import Choice
    from graphalign.files.constraints import Constraints
    from graphalign.files.embeddings import Embeddings
    from graphalign.files.pairing import Pairing, Parts

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGES TEXTS [MORE...]",
        help="Matrices (samples, width) as .npy, .npz, .pt, .csv, .tsv, .parquet, .vec or .h5ad; of more than two "
        "files every two are matched.",
        show_default=False,
    ),
]


def match(
    files: Files,
    solver: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Matching solver; see `exgra solvers`. `auto`: `lap` for small tables of scores, else `sparse`.",
        ),
    ] = "auto",
    gap: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="For `sparse`: stop where the total is proved to be this close to the best.",
            show_default=False,
        ),
    ] = None,
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
    seeds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pairs that must be made, .csv of ids or .npy.", show_default=False),
    ] = None,
    forbid: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pairs that must not be made, .csv of ids or .npy.", show_default=False),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(metavar="FILE|identity", help="The true pairs, to report accuracy.", show_default=False),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="A square symmetric matrix holds features, not the edges of a graph.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write tables and pictures; new or empty.", show_default=False),
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Write the table of all scores too, `scores.npy`.")] = False,
    top_k: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Write the K best candidates of each row too, `candidates.csv`.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[str, typer.Option(metavar="csv|parquet", help="Format of the table of pairs.")] = "csv",
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw `matching.png` too.")] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Match your own embeddings: the pairs, their scores, and how certain each is."""
    with stopping("stopping: the best matching so far is kept; Ctrl-C again ends at once") as stop:
        from exgra.matching.folder import check_free
        from exgra.matching.summary import matching_summary, pair_figures

        check_table(table)
        if out is not None:
            check_free(out)
            check_pictures(picture)
        parts = build_parts(solver, graph, affinity, unmatched)
        sides = read_all(files)
        check_candidates(top_k, out)
        constraints = read_constraints(seeds, forbid, sides)
        ask_about_graphs(sides, features)
        warn_about_sizes(sides, parts)
        found, whole, choice = match_all(sides, Asked(parts, gap, truth), constraints, stop)
        figures = [pair_figures(pairing, true) for pairing, true in found]
        told = matching_summary(sides, choice.parts, figures, choice.reason, constraints)
        if out is not None:
            with writing_to(out):
                write_matchings(out, found, told, Wanted(picture, scores, table, top_k), constraints)
        put_json({**told, "out": str(out) if out else None}) if as_json else put_pairs(told, out)
    if not whole:
        raise typer.Exit(130)


class Asked(NamedTuple):
    """How every two files are matched: with which parts, to which gap, and what is true."""

    parts: Parts
    gap: float | None
    truth: str | None


def match_all(
    sides: list[Embeddings], asked: Asked, constraints: Constraints, stop: Stop
) -> tuple[list[tuple[Pairing, np.ndarray | None]], bool, Choice]:
    """Match every two files: the pairings with what is true, whether none was cut short, and the parts.

    On Ctrl-C what is matched until then is kept; of the solver sparse that is also the best matching so far.
    """
    from graphalign.solvers import Sparse

    found: list[tuple[Pairing, np.ndarray | None]] = []
    largest, second_largest, *_ = sorted(sides, key=lambda side: -len(side.x))
    choice = chosen(largest, second_largest, asked.parts, asked.gap)
    if not isinstance(choice.parts.solver, Sparse):
        stop.at_once()
    for first, second in combinations(sides, 2):
        try:
            found.append(pair_two(first, second, choice.parts, asked.truth, constraints, stop))
        except KeyboardInterrupt:
            if not found:
                raise
            return found, False, choice
        if found[-1][0].interrupted or not found[-1][0].judged:
            return found, False, choice
    return found, True, choice


class Wanted(NamedTuple):
    """Outputs beside the summary: a picture, scores, the format of the pairs, and the number of candidates."""

    picture: bool
    scores: bool
    table: str
    top_k: int | None = None


def check_table(table: str) -> None:
    """Refuse an unknown format, and Parquet without its package, before anything is computed."""
    from graphalign.errors import ConfigError, MissingExtraError
    from graphalign.extras import installed, pip_line

    if table not in ("csv", "parquet"):
        raise ConfigError(f"--table must be csv or parquet, not {table}", where="--table", hint="--table parquet")
    if table == "parquet" and installed("pyarrow") is None:
        raise MissingExtraError("parquet files need pyarrow", where="--table", hint=pip_line("tables"))


def chosen(first: Embeddings, second: Embeddings, parts: Parts, gap: float | None) -> Choice:
    """The parts with a solver for two files; says which it is where it is not the one of small files."""
    from graphalign.compatibility import name_of
    from graphalign.files.choice import choose_solver

    choice = choose_solver(first, second, parts, gap)
    if parts.solver is None and name_of(choice.parts.solver) == "sparse":
        say(f"solver {choice.parts.solver!r}: {choice.reason}")
    return choice


def check_pictures(wanted: bool) -> None:
    """Say that pictures cannot be drawn before anything is computed."""
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
    made: dict[str, Any] = {"solver": None}
    for kind, text, listing in (
        ("solver", solver, "solvers"),
        ("graph", graph, "graphs"),
        ("affinity", affinity, "affinities"),
    ):
        if text == "auto" and kind == "solver":
            continue
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
    sides = [read_embeddings(path, name) for path, name in zip(files, names, strict=True)]
    for side in sides:
        for note in side.notes:
            say(f"warning: {side.path}: {note}")
    return sides


def ask_about_graphs(sides: list[Embeddings], features: bool) -> None:
    """Refuse what looks like the edges of a graph, unless its rows are said to be features."""
    from graphalign.files.embeddings import looks_like_adjacency
    from medmllm.errors import ConfigError

    for side in sides:
        if not features and looks_like_adjacency(side.x):
            told = f"is {side.path.name} an adjacency matrix? It is square, symmetric, and 0 on its diagonal"
            hint = "match compares rows of features; if the rows of this file are features, add --features"
            raise ConfigError(told, where=str(side.path), hint=hint)


def warn_about_sizes(sides: list[Embeddings], parts: Parts) -> None:
    from graphalign.files.pairing import whole_graphs

    for line in whole_graphs(sides, parts):
        say(f"warning: {line}")


def check_candidates(top_k: int | None, out: Path | None) -> None:
    """Refuse candidates that would be written nowhere."""
    from graphalign.errors import ConfigError

    if top_k is not None and out is None:
        raise ConfigError("candidates are written to a folder", where="--top-k", hint="--out FOLDER")


def read_constraints(seeds: Path | None, forbid: Path | None, sides: list[Embeddings]) -> Constraints:
    """The pairs of both files, which belong to two files of embeddings."""
    from graphalign.errors import ConfigError
    from graphalign.files.constraints import Constraints, read_pairs

    given = {"--seeds": seeds, "--forbid": forbid}
    asked = [option for option, path in given.items() if path is not None]
    if asked and len(sides) > 2:
        say = f"pairs of rows belong to two files, and {len(sides)} are given"
        raise ConfigError(say, where=asked[0], hint="match two files at a time")
    first, second = sides[:2]
    pairs = [None if path is None else read_pairs(path, first, second, option) for option, path in given.items()]
    found = Constraints(pairs[0], pairs[1], (seeds, forbid))
    check_both(found, first, second)
    return found


def check_both(given: Constraints, first: Embeddings, second: Embeddings) -> None:
    """Refuse a pair that must be made and must not."""
    from graphalign.errors import ConfigError

    if given.seeds is None or given.forbidden is None:
        return
    both = sorted({*map(tuple, given.seeds.tolist())} & {*map(tuple, given.forbidden.tolist())})
    if both:
        row, column = both[0]
        say = f"the pair {first.ids[row]}, {second.ids[column]} (rows {row} and {column}) is fixed and forbidden"
        hint = f"take it out of {given.files[0]} or of {given.files[1]}"
        raise ConfigError(say, where="--seeds, --forbid", hint=hint)


def pair_two(
    first: Embeddings, second: Embeddings, parts: Parts, truth: str | None, constraints: Constraints, stop: Stop
) -> tuple[Pairing, np.ndarray | None]:
    from graphalign.files.pairing import pair
    from graphalign.files.truth import true_columns

    true = None if truth is None else true_columns(truth, first, second)
    with matching_progress() as report:
        return pair(first, second, parts, report, constraints, stop), true


def write_matchings(
    out: Path,
    found: list[tuple[Pairing, np.ndarray | None]],
    told: dict[str, Any],
    wanted: Wanted,
    constraints: Constraints,
) -> None:
    """Tables and pictures; with more than two files a folder for each pair. An interrupted matching is not scanned."""
    from exgra.matching.folder import write_candidates, write_pairing, write_scores, write_summary

    for pairing, true in found:
        folder = out if len(found) == 1 else out / pairing.name
        write_pairing(folder, pairing, true, wanted.table, constraints.seeds)
        if wanted.scores and not pairing.interrupted:
            write_scores(folder / "scores.npy", pairing.scores)
        if wanted.top_k is not None and not pairing.interrupted:
            mask = constraints.mask(pairing.first, pairing.second)
            write_candidates(folder / "candidates.csv", pairing, wanted.top_k, mask)
        if wanted.picture:
            from exgra.matching.picture import matching_picture

            matching_picture(pairing, true, folder / "matching.png", note=told_pairs(told))
    write_summary(out, told)


def put_pairs(told: dict[str, Any], out: Path | None) -> None:
    head = ["rows", "columns", "matched", "mutual", "mean score", "objective", "ms"]
    known = any("accuracy" in pair for pair in told["pairs"])
    proved = any(pair["gap"] is not None for pair in told["pairs"])
    more = [*(["gap"] if proved else []), *(["right"] if known else [])]
    put_table([*head, *more], [cells(pair, known, proved) for pair in told["pairs"]])
    if given := told_pairs(told):
        say(given)
    for pair in told["pairs"]:
        if pair["interrupted"]:
            say(f"interrupted: the best matching so far is at most {pair['gap']:.1e} below the optimum")
        elif pair["converged"] is False:
            what = "gap" if pair["residual"] is None else "residual"
            say(f"warning: {told['solver']} stopped before its tolerance; {what} {pair[what]:.2g}")
    if out is not None:
        say(f"written to {out}")


def told_pairs(told: dict[str, Any]) -> str:
    """How many pairs were fixed and forbidden; "" where none were."""
    given = {"fixed": told["seeds"], "forbidden": told["forbidden"]}
    counts = [f"{count_of(one['pairs'], 'pair')} {how}" for how, one in given.items() if one]
    return ", ".join(counts)


def cells(pair: dict[str, Any], known: bool, proved: bool) -> list[str]:
    matched, mutual = f"{pair['matched']}", "-" if pair["mutual"] is None else f"{pair['mutual']}"
    score, total = (format(pair[key], form) if pair[key] is not None else "-"
                    for key, form in (("mean_score", ".3f"), ("objective", ".4g")))  # fmt: skip
    right = [f"{percent(pair['accuracy'])} of {pair['of']}"] if known else []
    gap = ["-" if pair["gap"] is None else f"{pair['gap']:.1e}"] if proved else []
    return [pair["rows"], pair["columns"], matched, mutual, score, total, f"{pair['ms']:.1f}", *gap, *right]
