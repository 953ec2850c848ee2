"""`exgra serve`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from exgra.options import Debug, Device, MaxNewTokens, Window
from exgra.screen import say

HOST = "127.0.0.1"
NAME = "exgra"  # by which clients ask for a model of this machine


def serve(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run's folder, a saved LLaVA's, or its id on the hub.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine's own address, 127.0.0.1.")] = 8000,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "auto",
    window: Window = None,
    debug: Debug = False,
) -> None:
    """Serve OpenAI's chat completions on this machine only, with the answers of `exgra chat`. Research only."""
    check_serving()
    import uvicorn

    from exgra.openai_port import application
    from exgra.progress import quiet_libraries
    from medmllm.evaluate.completions import Answerer
    from medmllm.evaluate.conversation import Conversation
    from medmllm.evaluate.predict import NOTICE
    from medmllm.interop.original import stock_model

    quiet_libraries()
    with listening(port) as listener:
        talk = Conversation.open(stock_model(model, say), max_new_tokens=max_new_tokens, device=device, window=window)
        name = NAME if Path(model).is_dir() else model
        app = application(Answerer(talk), name)
        say(NOTICE)
        say(f"http://{HOST}:{port}/v1 accepts chat completions with images for model {name!r}; Ctrl-C stops it")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        server.run(sockets=[listener])


def listening(port: int) -> socket.socket:
    """The port, taken before the model is loaded.

    Raises:
        ConfigError: another program has it.
    """
    from medmllm.errors import ConfigError

    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        told = f"port {port} cannot be taken: {error.strerror}"
        raise ConfigError(told, where=f"--port {port}", hint="--port with another number") from None


def check_serving() -> None:
    """Say that the extra is missing before a model is loaded."""
    import fastapi  # noqa: F401
    import uvicorn  # noqa: F401
