"""Command lines that are told to a person and can be pasted as they stand."""

from __future__ import annotations

import shlex


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
