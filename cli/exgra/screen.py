"""What commands write: data to stdout, talk to stderr, tables that fit a terminal and are never cut in a pipe."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

WIDTH = 80
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def command_name() -> str:
    """How the person called the program; the launcher of a clone says so."""
    return os.environ.get("EXGRA_COMMAND", "exgra")


def put(text: object = "", *, end: str = "\n") -> None:
    """A result on stdout; a lost terminal is like a reader who has left."""
    try:
        print(without_controls(str(text)), end=end, flush=True)
    except OSError as error:
        if error.errno == errno.EIO:
            raise BrokenPipeError from error
        raise


def say(text: str) -> None:
    """Talk: lines on stderr, which on a terminal are folded to its width. A lost terminal stops nothing."""
    text = without_controls(text)
    with suppress(OSError):
        print(folded(text) if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def without_controls(text: str) -> str:
    """The text with its control characters made visible, so that no data and no server can steer a terminal.

    Besides escape sequences these are carriage returns, which overwrite a line, marks that reverse its direction, and
    what takes no room; halves of characters, which no stream takes, are shown too.
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Unbroken:
    """A stream that continues when its terminal is lost: what cannot be written is dropped."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def terminal() -> Any:
    """rich's console on stderr."""
    from rich.console import Console

    stream: Any = Unbroken(sys.stderr)
    return Console(file=stream)


def warn(text: str) -> None:
    """Print a warning: something looks odd, but the command continues."""
    say(f"warning: {text}")


def folded(text: str) -> str:
    """Long lines continue under the words that they begin with; a hint stays whole, as it is there to be pasted."""
    width = min(shutil.get_terminal_size().columns, WIDTH)
    lines = (line if line.startswith("hint:") else hanging(line, width) for line in text.splitlines())
    return "\n".join(lines)


def hanging(line: str, width: int = WIDTH, indent: int | None = None) -> str:
    """A line folded to a width; it continues at `indent`, or behind its label or the key of a setting."""
    if indent is None:
        label = re.match(r" *(\w+: +|[\w.]+  +)?", line)
        indent = label.end() if label and label.end() <= width // 2 else 2
    return textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def put_json(value: Any) -> None:
    """The one JSON document of a command."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print(CONTROL.sub(lambda found: _json_escape(found[0]), text))


def _json_escape(sign: str) -> str:
    """The escape of a character, in two parts where it needs them; half a character has one too."""
    return re.sub("(.{4})", r"\\u\1", sign.encode("utf-16-be", "surrogatepass").hex())


def lively() -> bool:
    """Whether stderr is a terminal on which lines may be redrawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def put_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; on a terminal the last one is folded to its width."""
    texts = [[without_controls(str(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head) - 1)]
    room = max(12, min(shutil.get_terminal_size().columns, WIDTH) - sum(widths) - 2 * len(widths))
    for *cells, last in texts:
        start = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        folded = textwrap.wrap(last, room) if sys.stdout.isatty() else [last]
        print((start + (folded or [""])[0]).rstrip())
        for line in folded[1:]:
            print(" " * len(start) + line)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
