"""`exgra serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from exgra.options import Debug, Device
from exgra.screen import say

HOST = "127.0.0.1"
NAME = "exgra"  # by which clients ask for the model


def serve(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run's folder, a saved LLaVA's, or its id on the hub.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine's own address, 127.0.0.1.")] = 8000,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Serve OpenAI's chat completions on this machine only, by the server of transformers. Research only."""
    check_serving()
    from exgra.progress import quiet_libraries
    from medmllm.evaluate.predict import NOTICE
    from medmllm.interop.original import stock_model

    quiet_libraries()
    with named(stock_model(model, say)) as name:
        from transformers.cli.serve import Serve

        say(NOTICE)
        say(f"http://{HOST}:{port}/v1 accepts chat completions with images for model {name!r}; Ctrl-C stops it")
        Serve(name, host=HOST, port=port, device=device, log_level="error")


def check_serving() -> None:
    """Say that the extra is missing before a model is loaded."""
    import fastapi  # noqa: F401
    import openai  # noqa: F401
    import uvicorn  # noqa: F401


@contextmanager
def named(model: str) -> Iterator[str]:
    """The name under which the server opens a model and clients ask for it: of a folder `exgra`, of the hub's its id.

    The server takes no name beside the path, so the folder is met under that name in a folder of its own, which becomes
    the current one. Adapters are merged into their base there.
    """
    from medmllm.evaluate.loading import check_model, model_folder
    from medmllm.interop.export import export
    from medmllm.model.opening import is_adapter

    folder = model_folder(Path(model).resolve())
    check_model(folder if folder.is_dir() else model)
    if not folder.is_dir():
        yield model
        return
    with TemporaryDirectory() as place:
        here = Path(place) / NAME
        if is_adapter(folder):
            export(folder, here, form="merged")
        else:
            here.symlink_to(folder)
        with chdir(place):
            yield NAME
