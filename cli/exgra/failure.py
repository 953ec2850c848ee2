"""Failures as messages: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exgra.screen import command_name, say
from medmllm.errors import ConfigError, MissingExtraError, RunError, UserError, did_you_mean

EXTRAS = {
    "accelerate": "train",
    "fastapi": "serve",
    "gradio": "web",
    "matplotlib": "viz",
    "openai": "serve",
    "peft": "train",
    "PIL": "train",
    "pydantic": "train",
    "rich": "train",
    "safetensors": "train",
    "tokenizers": "train",
    "transformers": "train",
    "typer": "train",
    "uvicorn": "serve",
    "yaml": "train",
}

STORAGE = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space and continue with --resume, or choose another folder with --out",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder with --out"),
    errno.EFBIG: ("the file is larger than allowed here", "raise the limit (ulimit -f), or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written, with --out"),
    errno.EACCES: ("permission denied", "choose a folder that can be read and written"),
    errno.EPERM: ("permission denied", "choose a folder that can be read and written"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("this is a folder, and a file is needed", "choose another path"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "choose a shorter one"),
}


class Interrupted(UserError):
    """A person stopped the command."""

    exit_code = 130


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code of a failure, and the lines that tell a person about it."""
    known = user_error(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        return known.exit_code, known.message
    lines = [known.message if isinstance(known, Interrupted) else f"error: {known.message}"]
    lines += [f"where: {known.where}"] if known.where else []
    lines += [f"hint:  {with_command(known.hint)}"] if known.hint else []
    return known.exit_code, "\n".join(lines)


def document(error: BaseException) -> dict[str, Any]:
    """A failure as the JSON document of the command; with all its problems where it is a configuration's."""
    known = user_error(error)
    found = {"error": known.message, "where": known.where, "hint": with_command(known.hint)}
    problems = [problem._asdict() for problem in getattr(known, "problems", ())]
    more = {"problems": problems, "ids": getattr(known, "ids", {})}
    return {**found, "exit_code": known.exit_code, **{name: value for name, value in more.items() if value}}


def user_error(error: BaseException) -> UserError:
    """Any failure as one of ours."""
    if hasattr(error, "format_message"):  # wrong usage, found by typer
        return usage(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return Interrupted("interrupted")
    return translate(error) or fault(error)


def usage(error: BaseException) -> ConfigError:
    context, message = getattr(error, "ctx", None), error.format_message()  # type: ignore[attr-defined]
    if near := getattr(error, "possibilities", None):  # typer found them nearest first, but sorts them by the alphabet
        message = f"{error.message}; did you mean {' or '.join(near)}?"  # type: ignore[attr-defined]
    path = context.command_path if context else "exgra"
    if setting := like_option(getattr(error, "option_name", None)) if path.endswith((" train", " ablate")) else "":
        message = f"{error.message}; settings have no dashes: {setting}=..."  # type: ignore[attr-defined]
    if bad := re.match(r"Invalid value for '(\S+)': Value error, '(.*)' is not one of (.*)\.$", message):
        option, value, known = bad[1], bad[2], re.findall(r"'([^']*)'", bad[3])
        near = did_you_mean(value, known, "")
        message = f"{value!r} is not one of {', '.join(known)}" + (f"; {near}" if near else "")
        return ConfigError(message, where=option, hint=f"{path} --help")
    if bad := re.match(r"Invalid value for '(\S+)': Input should be a valid number", message):
        hint = f"a share is written as a number, 0.2 for 20 %; {path} --help"
        return ConfigError("the value must be a number", where=bad[1].split("/")[0], hint=hint)
    return ConfigError(message, hint=f"{path} --help")


def like_option(name: str | None) -> str:
    """The setting whose last word an option has, as in `train.steps` for `--steps`; "" where there is none."""
    from medmllm.settings.messages import keys

    word = (name or "").strip("-").replace("-", "_")
    return next((key for key in keys() if word and word in (key, key.rpartition(".")[2])), "")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Failures of the disk that name no file name `folder`."""
    try:
        yield
    except Exception as error:
        known = translate(error, place=str(folder))
        if known is None or known is error:
            raise
        raise known from error


def translate(error: BaseException, place: str = "") -> UserError | None:
    """A failure of ours, of the machine or of the installation in our own words; None for a bug in the program."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, ModuleNotFoundError) and cause.name and cause.name.partition(".")[0] in EXTRAS:
            return missing(cause.name.partition(".")[0])
        if (number := system_error(cause)) in STORAGE:
            what, hint = STORAGE[number]
            return RunError(what, where=str(getattr(cause, "filename", None) or place), hint=hint)
    return None


@contextmanager
def going_on(kept: bool = True) -> Iterator[None]:
    """Say on Ctrl-C that nothing is lost, where answers are kept as they come."""
    try:
        yield
    except KeyboardInterrupt:
        if kept:
            say("the answers so far are kept; the same command continues from there")
        raise


def system_error(error: BaseException) -> int:
    """The operating system's number of a failure; 0 where it has none. Libraries in Rust report it in their text."""
    if isinstance(error, OSError):
        return error.errno or 0
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else 0


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The failure and those that led to it: libraries hide a full disk behind errors of their own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def missing(module: str) -> MissingExtraError:
    from graphalign.extras import pip_line

    say = f"the package {module} is needed for this and is not installed"
    return MissingExtraError(say, hint=pip_line(EXTRAS[module]))


def fault(error: BaseException) -> UserError:
    """A failure that nobody foresaw: one line, and where its traceback is."""
    first = (str(error).splitlines() or ["no message"])[0]
    note = "; ".join(getattr(error, "__notes__", ["--debug shows the traceback"]))
    return RunError(f"{type(error).__name__}: {first}", where="a bug in ExGra, not in your input", hint=note)


def with_command(hint: str) -> str:
    """The hint with the command spelt as the person called it, so that the line can be pasted."""
    return re.sub(r"(?<![\w./\[-])exgra (?=[a-z-])", f"{command_name()} ", hint)
