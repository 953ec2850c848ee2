"""`exgra chat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exgra.options import Debug, Device, MaxNewTokens, Window
from exgra.screen import put, say

if TYPE_CHECKING:
    from medmllm.evaluate.conversation import Conversation

WORDS = "/image FILE another image · /add FILE one more image · /new start over · /quit"


def chat(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run's folder, a saved LLaVA's, or its id on the hub.")
    ],
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="An image to talk about, of a volume ct.nii.gz#axial=40; repeat it for more.",
            show_default=False,
        ),
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Talk in a browser, on this machine only.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of --web.")] = 7860,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "auto",
    window: Window = None,
    debug: Debug = False,
) -> None:
    """Talk with a model about images. Research only: nothing it says may be used for a clinical decision."""
    from exgra.progress import quiet_libraries
    from medmllm.errors import ConfigError
    from medmllm.evaluate.loading import check_name

    check_name(model)
    if not image and not web:
        raise ConfigError("there is no image to talk about", where="--image", hint="exgra chat RUN --image FILE")
    if web:
        from exgra.web import check_web

        check_web()
    from medmllm.evaluate.conversation import Conversation
    from medmllm.evaluate.predict import NOTICE
    from medmllm.interop.original import stock_model

    quiet_libraries()
    talk = Conversation.open(stock_model(model, say), max_new_tokens=max_new_tokens, device=device, window=window)
    for number, file in enumerate(image or ()):
        show_image(talk, file, more=number > 0)
    say(NOTICE)
    if web:
        from exgra.web import serve

        serve(talk, port, model, image or ())
    else:
        converse(talk)


def converse(talk: Conversation) -> None:
    """Questions from stdin, answers to stdout, until the input ends."""
    from medmllm.errors import UserError

    say(WORDS)
    for line in asked():
        try:
            respond(talk, line)
        except UserError as error:  # a wrong path, a conversation too long: say so, and continue talking
            say(f"error: {error.message}" + (f" ({error.hint})" if error.hint else ""))


def respond(talk: Conversation, line: str) -> None:
    if line == "/new":
        talk.start_over()
    elif line.startswith("/image"):
        show_image(talk, Path(line.removeprefix("/image").strip()).expanduser())
    elif line.startswith("/add"):
        show_image(talk, Path(line.removeprefix("/add").strip()).expanduser(), more=True)
    elif line.startswith("/"):
        say(WORDS)
    else:
        put(talk.ask(line))


def show_image(talk: Conversation, image: Path, *, more: bool = False) -> None:
    """Another image, or one more; of a scan it is said in which window it is shown."""
    if told := talk.add(image) if more else talk.show(image):
        say(told)


def asked() -> Iterator[str]:
    """Lines that are not empty, up to /quit or the end."""
    lively = sys.stdin.isatty()
    while True:
        if lively:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "/quit":
            return
        if line.strip():
            yield line.strip()
