"""`exgra eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from exgra.failure import writing_to
from exgra.options import BatchSize, Debug, Device, Json, MaxNewTokens, Model
from exgra.screen import put_json
from exgra.story import scores_lines

FILES = "Answers that are there already"


def evaluate(
    run: Model = None,
    task: Annotated[
        Literal["vqa", "reliance"],
        typer.Option(help="vqa: answers and their scores; reliance: the same with blank, noise and others' images."),
    ] = "vqa",
    split: Annotated[str, typer.Option(help="Which records to answer: test, test_slab, validation, train.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Answer only so many records.", show_default=False)] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Another data set than the run's own.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where answers and scores go; a run's own folder.", show_default=False),
    ] = None,
    batch_size: BatchSize = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "auto",
    references: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Questions with true answers.", show_default=False, rich_help_panel=FILES),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What any system said to them.", show_default=False, rich_help_panel=FILES),
    ] = None,
    missing: Annotated[
        Literal["error", "wrong"], typer.Option(help="A question without an answer.", rich_help_panel=FILES)
    ] = "error",
    candidates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Candidate answers of open accuracy, or training data to take them from.",
            show_default=False,
            rich_help_panel=FILES,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE", help="Another run, or another file of answers, to compare with.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer held-out questions with a trained model and score the answers; or score those of any other system."""
    check_what(run, references, predictions)
    if predictions is not None and references is not None:
        score_answers(references, predictions, baseline, candidates, missing == "wrong", as_json)
        return
    settings = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "device": device}
    wanted = {"split": split, "limit": limit, "source": data, **settings}
    if task == "reliance":
        look_away(str(run), wanted, out, as_json)
    else:
        ask(str(run), wanted, out, baseline, as_json)


def check_what(run: str | None, references: Path | None, predictions: Path | None) -> None:
    """Either a model answers, or both files are given."""
    from medmllm.errors import ConfigError

    files = [name for name, file in (("--references", references), ("--predictions", predictions)) if file]
    if (run is None and len(files) == 2) or (run is not None and not files):
        return
    told = f"{files[0]} alone scores nothing" if files else "nothing is given to be scored"
    told = "a model and files of answers cannot be scored at once" if run else told
    hint = "exgra eval RUN, or exgra eval --references FILE --predictions FILE; exgra eval --help"
    raise ConfigError(told, hint=hint)


def score_answers(
    references: Path,
    predictions: Path,
    baseline: Path | None,
    candidates: Path | None,
    missing_is_wrong: bool,
    as_json: bool,
) -> None:
    from exgra.figures import put_comparison, put_figures
    from medmllm.evaluate.systems import score_files

    told = score_files(
        references, predictions, baseline=baseline, candidates=candidates, missing_is_wrong=missing_is_wrong
    )
    if as_json:
        put_json(told)
        return
    put_figures(told)
    if "comparison" in told:
        put_comparison(told["comparison"])


def ask(run: str, wanted: dict[str, Any], out: Path | None, baseline: Path | None, as_json: bool) -> None:
    """Lets a model answer, and tells how right it is."""
    from exgra.figures import put_comparison
    from exgra.progress import listener, quiet_libraries
    from medmllm.evaluate.evaluate import evaluate as answer
    from medmllm.evaluate.exam import Asked

    quiet_libraries()
    with writing_to(out or Path(run)), listener() as heard:
        scores = answer(run, Asked(**wanted), out=out, baseline=baseline, listener=heard)
    if as_json:
        put_json(scores)
        return
    print("\n".join(scores_lines(wanted["split"], scores)))
    if "comparison" in scores:
        put_comparison(scores["comparison"])


def look_away(run: str, wanted: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Asks the same with changed images."""
    from exgra.figures import put_reliance
    from exgra.progress import listener, quiet_libraries
    from medmllm.evaluate.exam import Asked
    from medmllm.evaluate.probe import probe

    quiet_libraries()
    with writing_to(out or Path(run)), listener() as heard:
        told = probe(run, Asked(**wanted), out=out, listener=heard)
    put_json(told) if as_json else put_reliance(told)
