"""Errors that a person can act on, with a remedy, and command lines that can be pasted as they are.

The errors that both packages raise are defined in `graphalign.errors`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from graphalign.errors import ConfigError, DataError, MissingExtraError, RunError, UserError
from graphalign.names import nearest

__all__ = [
    "ConfigError",
    "DataError",
    "ElsewhereError",
    "MissingExtraError",
    "RunError",
    "UserError",
    "command_line",
    "did_you_mean",
    "quoted",
]


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint that names the nearest of the known names, or `otherwise` where none is near.

    Example:
        >>> did_you_mean("tset", ["train", "test"])
        'did you mean test?'
    """
    near = nearest(name, known)
    return f"did you mean {near}?" if near else otherwise


class ElsewhereError(RunError):
    """Another process of the run failed, and process 0 reports why."""


def quoted(*words: object) -> str:
    """The words with a space between them, each quoted where a shell would take it apart.

    Example:
        >>> quoted("--out", "my study/run 2")
        "--out 'my study/run 2'"
    """
    return shlex.join(str(word) for word in words)


def command_line(*words: object) -> str:
    """A call of `exgra`; the terminal spells the command as the person called it.

    Example:
        >>> command_line("eval", "my study/run 2")
        "exgra eval 'my study/run 2'"
    """
    return f"exgra {quoted(*words)}"
