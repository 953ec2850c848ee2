"""`exgra predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exgra.failure import going_on, with_command, writing_to
from exgra.options import AllowOutside, BatchSize, Debug, Device, Json, Language, MaxNewTokens, Window
from exgra.screen import put, put_json, say
from graphalign.counts import count_of


def predict(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run's folder, a saved LLaVA's, or its id on the hub.")
    ],
    questions: Annotated[
        Path | None,
        typer.Argument(
            metavar="IN",
            help="A data file, folder or set by name, with or without answers; an image; or a folder of images.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where answers go, a line each.")] = Path("answers.jsonl"),
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="In place of IN: an image of one question; repeat it for more.", show_default=False
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Question for each image that has none.", show_default=False)
    ] = None,
    batch_size: BatchSize = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "auto",
    window: Window = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which rows: test, train, ..., or all; if not given, those for testing of VQA-RAD and of a folder "
            "that has some, and all of any other file.",
            show_default=False,
        ),
    ] = None,
    language: Language = None,
    allow_outside: AllowOutside = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer questions about images into a file. Research only: nothing it says may be used for a clinical decision.

    `--image a.dcm --image b.dcm --question "Is <image> worse than <image>?"` asks about several images at once. An
    unfinished file is continued. In a folder every file is tried; exit code 5 says that some are not images.
    """
    from exgra.progress import listener, quiet_libraries
    from medmllm.errors import command_line
    from medmllm.evaluate.predict import NOTICE, Settings, predict_file
    from medmllm.evaluate.unanswered import is_picture
    from medmllm.interop.original import stock_model

    if (questions is None) == (not image):
        raise typer.BadParameter("give either IN or --image, again for each image")
    quiet_libraries()
    settings = Settings(batch_size, max_new_tokens, device, window, split, language)
    with writing_to(out), going_on(), listener() as heard:
        done = predict_file(
            stock_model(model, heard.message),
            questions or list(image or ()),
            out,
            question=question,
            settings=settings,
            allow_outside=allow_outside,
            listener=heard,
        )
    told = {"answers": done.answers, "skipped": done.skipped, "out": str(out), "notice": NOTICE}
    alone = questions is None or (questions.is_file() and is_picture(questions))
    if alone:
        told["text"] = last_answer(out)
    if as_json:
        put_json(told)
        raise typer.Exit(5 if done.skipped else 0)
    if alone:
        put(told["text"])
    say(
        f"{count_of(done.answers, 'answer')} in {out}"
        + (f"; {count_of(len(done.skipped), 'file')} left out" if done.skipped else "")
    )
    if not alone:
        names = [] if split is None else ["--split", split]
        names += [] if language is None else ["--language", language]
        file = questions if done.answered and not done.skipped and questions and holds_rows(questions) else "FILE"
        scoring = with_command(command_line("eval", "--references", file, "--predictions", out, *names))
        say(f"next: {scoring}, where the true answers are known")
    raise typer.Exit(5 if done.skipped else 0)


def last_answer(out: Path) -> str:
    """The answer on the last line of a file of answers."""
    import json

    return str(json.loads(out.read_text("utf-8").rstrip("\n").rpartition("\n")[2])["text"])


def holds_rows(path: Path) -> bool:
    """Whether questions were read from data files, and not from the names of images."""
    from medmllm.data.formats.registry import holds_data

    return path.is_file() or holds_data(path)
