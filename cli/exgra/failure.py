"""Failures as messages: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medmllm.errors import MissingExtraError, RunError, UserError

EXTRAS = {
    "accelerate": "train",
    "matplotlib": "viz",
    "peft": "train",
    "PIL": "train",
    "pydantic": "train",
    "rich": "train",
    "safetensors": "train",
    "tokenizers": "train",
    "transformers": "train",
    "typer": "train",
    "yaml": "train",
}

STORAGE = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose another folder with --out"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder with --out"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written, with --out"),
    errno.EACCES: ("permission denied", "choose a folder that can be written, with --out"),
}


def explain(error: Exception) -> tuple[int, str]:
    """The exit code of a failure, and the lines that tell a person about it."""
    if hasattr(error, "format_message"):  # wrong usage, found by typer
        return usage(error)
    known = translate(error)
    if known is None:
        say = f"error: {type(error).__name__}: {first_line(error)}\nwhere: a fault of ExGra, not of yours"
        return 1, "\n".join([say, *getattr(error, "__notes__", ["hint:  --debug shows the traceback"])])
    lines = [f"error: {known.message}"]
    lines += [f"where: {known.where}"] if known.where else []
    lines += [f"hint:  {known.hint}"] if known.hint else []
    return known.exit_code, "\n".join(lines)


def usage(error: Exception) -> tuple[int, str]:
    context, message = getattr(error, "ctx", None), error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        return 2, message
    command = context.command_path if context else "exgra"
    return 2, f"error: {message}\nhint:  {command} --help"


def translate(error: Exception) -> UserError | None:
    """Known failures of libraries and of the machine in our own words; None for a fault of the program."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in EXTRAS:
        return missing(error.name.partition(".")[0])
    if isinstance(error, OSError) and error.errno in STORAGE:
        what, hint = STORAGE[error.errno]
        return RunError(what, where=str(error.filename or ""), hint=hint)
    return None


def missing(module: str) -> MissingExtraError:
    say = f"the package {module} is needed for this command and is not installed"
    return MissingExtraError(say, hint=f"pip install 'exgra[{EXTRAS[module]}]'")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Write the traceback of a failure to `folder/error.log`, and let it go on."""
    try:
        yield
    except Exception as error:
        log = folder / "error.log"
        try:
            log.write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:  # no folder yet, or the disk is full: the message on stderr must do
            error.add_note("hint:  --debug shows the traceback")
        else:
            error.add_note(f"hint:  {log} holds the traceback; --debug prints it")
        raise
