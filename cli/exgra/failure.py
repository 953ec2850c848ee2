"""Failures as messages: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from exgra.screen import command_name
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
    errno.ENOSPC: ("the disk is full", "free some space and go on with --resume, or choose another folder with --out"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder with --out"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written, with --out"),
    errno.EACCES: ("permission denied", "choose a folder that can be read and written"),
    errno.EPERM: ("permission denied", "choose a folder that can be read and written"),
}


def explain(error: Exception) -> tuple[int, str]:
    """The exit code of a failure, and the lines that tell a person about it."""
    if hasattr(error, "format_message"):  # wrong usage, found by typer
        return usage(error)
    if type(error).__name__ == "Abort":
        return 130, "interrupted"
    known = translate(error) or fault(error)
    lines = [f"error: {known.message}"]
    lines += [f"where: {known.where}"] if known.where else []
    lines += [f"hint:  {with_command(known.hint)}"] if known.hint else []
    return known.exit_code, "\n".join(lines)


def usage(error: Exception) -> tuple[int, str]:
    context, message = getattr(error, "ctx", None), error.format_message()  # type: ignore[attr-defined]
    if type(error).__name__ == "NoArgsIsHelpError":
        return 2, message
    path = context.command_path if context else "exgra"
    return 2, f"error: {message}\nhint:  {with_command(path + ' --help')}"


def translate(error: Exception) -> UserError | None:
    """A failure of ours, of the machine or of the installation in our own words; None for a fault of the program."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ModuleNotFoundError) and cause.name and cause.name.partition(".")[0] in EXTRAS:
            return missing(cause.name.partition(".")[0])
        if isinstance(cause, OSError) and cause.errno in STORAGE:
            what, hint = STORAGE[cause.errno]
            return RunError(what, where=str(cause.filename or ""), hint=hint)
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The failure and those that led to it: libraries hide a full disk behind errors of their own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def missing(module: str) -> MissingExtraError:
    say = f"the package {module} is needed for this and is not installed"
    return MissingExtraError(say, hint=f"pip install 'exgra[{EXTRAS[module]}]'")


def fault(error: Exception) -> UserError:
    """A failure that nobody foresaw: one line, and where its traceback is."""
    first = (str(error).splitlines() or ["no message"])[0]
    note = "; ".join(getattr(error, "__notes__", ["--debug shows the traceback"]))
    return RunError(f"{type(error).__name__}: {first}", where="a fault of ExGra, not of yours", hint=note)


def with_command(hint: str) -> str:
    """The hint with the command spelt as the person called it, so that the line can be pasted."""
    return re.sub(r"(?<![\w./\[-])exgra (?=[a-z-])", f"{command_name()} ", hint)
