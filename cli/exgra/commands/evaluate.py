"""`exgra eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import writing_to
from exgra.options import Debug, Json
from exgra.screen import put_json, say
from exgra.story import scores_lines


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run's folder, or a saved model's.")],
    split: Annotated[str, typer.Option(help="Which records to answer: test, test_slab, validation, train.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Answer only so many records.", show_default=False)] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Another data set than the run's own.", show_default=False)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer held-out questions with a trained model and score the answers."""
    from medmllm.errors import ConfigError

    if not run.is_dir():
        raise ConfigError(f"the folder {run} does not exist", hint="give a run's folder, as in exgra eval runs/NAME")
    say(f"answering the questions of {split}")
    from exgra.progress import quiet_libraries
    from medmllm.evaluate.evaluate import evaluate as answer

    quiet_libraries()
    with writing_to(run):
        scores = answer(run, split=split, limit=limit, source=data)
    if as_json:
        put_json(scores)
    else:
        print("\n".join(scores_lines(split, scores)))
