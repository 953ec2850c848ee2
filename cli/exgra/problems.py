"""Problems of a data set on a screen: grouped by kind, with a count and one example each."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exgra.screen import WIDTH

if TYPE_CHECKING:
    from medmllm.data.formats import DataProblem


_NUMBERS = re.compile(r"\d+")  # in a remedy: it is the same for other lengths


def home(source: str) -> str:
    """The folder that names of files on the screen are relative to, with a slash at its end."""
    path = Path(source).expanduser().absolute()
    return f"{path if path.is_dir() else path.parent}/"


def problem_lines(
    problems: Sequence[DataProblem], checks: Mapping[str, str], folder: str, *, command: str
) -> Iterator[str]:
    """Lines of at most 80 columns: each kind's count and meaning, its first row, and the remedy.

    Args:
        problems: all of them.
        checks: what each kind of problem means.
        folder: what names of files are relative to.
        command: writes the whole list.
    """
    groups: dict[tuple[str, str, str], list[DataProblem]] = {}
    for problem in problems:
        kind = problem.check, problem.field, _NUMBERS.sub("", problem.hint)
        groups.setdefault(kind, []).append(problem)
    for (check, _, _), found in groups.items():
        yield from wrapped(f"{check} ({len(found)}): {checks[check]}", "")
        first = found[0]
        example = f"{first.field}: {first.message}" if first.field else first.message
        yield from wrapped(f"{relative(first.where, folder)}: {relative(example, folder)}", "  ")
        if first.hint:
            yield from wrapped(relative(first.hint, folder), "  ")
    if any(len(found) > 1 for found in groups.values()):
        yield "one row of each kind is shown; for all of them:"
        yield command


def relative(text: str, folder: str) -> str:
    """A text whose file names are relative to the data's folder."""
    return text.replace(folder, "")


def wrapped(text: str, indent: str) -> list[str]:
    """Lines of at most 80 columns; only a name without spaces may be longer."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
