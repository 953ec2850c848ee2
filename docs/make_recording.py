"""Records commands in a terminal of 80 columns and draws the recording as a moving SVG, `docs/images/recording.svg`.

    python docs/make_recording.py

It draws the commands' output at its true times; waits above a second and a half are cut, and after each command there
is time to read. Where pictures do not move, the last screen is shown. The commands run in a folder that holds two small
files of embeddings and the findings of an ablation that ran before, those of `benchmarks/results`. The terminal cannot
redraw a line, so that all that was said stays.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from shutil import copy

import torch

IMAGE = Path(__file__).resolve().parent / "images" / "recording.svg"
FINDINGS = IMAGE.parents[2] / "benchmarks" / "results" / "solver-x-estimator.json.gz"
COMMANDS = (
    "exgra solvers",
    "exgra match sound.csv text.csv --truth identity --no-picture --out found",
    "exgra train --dry-run",
    "exgra train --solver sinkhorn --estimator unroled",
    "exgra train --solver lap --estimator unrolled",
    "exgra train --solver lap train.steps=60 eval.test_limit=200 --out runs/first",
    "exgra eval runs/first --task reliance --limit 60",
    "exgra report solver-x-estimator.json.gz",
)
LONGEST_WAIT, TYPING, LAST = 1.5, 0.04, 12.0  # seconds: of a wait, of a letter, of the last screen
READING = 0.75  # seconds for each line of a command
ROWS, COLUMNS, HIGH, WIDE = 26, 80, 17.0, 7.85  # of the terminal, and of a letter in pixels
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
Line = tuple[float, str]


def record(commands: tuple[str, ...], folder: Path) -> list[Line]:
    """Every line on the screen with the second in which it came."""
    clock, lines = 0.0, []
    for command in commands:
        clock += TYPING * len(command) if lines else 0.0  # the first is there from the beginning
        lines.append((clock, f"$ {command}"))
        begun = len(lines)
        for wait, line in said(command, folder):
            clock += min(wait, LONGEST_WAIT)
            lines += [(clock, line[start : start + COLUMNS]) for start in range(0, max(len(line), 1), COLUMNS)]
        clock += max(LONGEST_WAIT, READING * (len(lines) - begun))
        lines.append((clock, ""))
    return lines[:-1]


def said(command: str, folder: Path) -> Iterator[tuple[float, str]]:
    """The lines that a command writes on a terminal, each with the wait before it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    words = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    running = subprocess.Popen(words, cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    before = time.monotonic()
    with suppress(OSError), os.fdopen(ours, errors="replace") as screen:  # the end of a terminal is an error
        for line in screen:
            now = time.monotonic()
            yield now - before, CONTROL.sub("", line).rstrip()
            before = now
    running.wait()


def drawn(lines: list[Line]) -> str:
    """The recording as an SVG that moves without a script and asks for no font of its own."""
    length = lines[-1][0] + LAST
    width, height = COLUMNS * WIDE + 28, ROWS * HIGH + 28
    texts = "\n".join(_text(row, second / length, line, length) for row, (second, line) in enumerate(lines))
    steps = [(second / length, row + 1 - ROWS) for row, (second, _) in enumerate(lines) if row + 1 > ROWS]
    times = ";".join(f"{moment:.5f}" for moment, _ in [(0.0, 0), *steps])
    places = ";".join(f"0 {-HIGH * over:g}" for _, over in [(0.0, 0), *steps])
    final = -HIGH * max(0, len(lines) - ROWS)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">
<title>A terminal in which commands of exgra run</title>
<style>text {{ font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre }}
text {{ fill: #d6dae0 }}
.typed {{ fill: #56d4bc; font-weight: bold }} .error {{ fill: #ff9d76 }}</style>
<rect width="100%" height="100%" rx="8" fill="#1b1f26"/>
<svg x="14" y="10" width="{width - 28:g}" height="{height - 18:g}"><g transform="translate(0 {final:g})">
<animateTransform attributeName="transform" type="translate" calcMode="discrete" dur="{length:.2f}s"
 repeatCount="indefinite" keyTimes="{times}" values="{places}"/>
{texts}
</g></svg></svg>
"""


def _text(row: int, moment: float, line: str, length: float) -> str:
    kind = "typed" if line.startswith("$ ") else "error" if re.match(r"(error|where|hint):", line) else ""
    appears = f'<animate attributeName="visibility" calcMode="discrete" dur="{length:.2f}s" repeatCount="indefinite" '
    appears += f'keyTimes="0;{moment:.5f}" values="hidden;visible"/>'
    place = f'y="{HIGH * (row + 1):g}" textLength="{WIDE * len(line):g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text class="{kind}" {place}>{escape(line)}{appears}</text>' if line else ""


def main() -> None:
    """Records and writes the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder, generator = Path(name), torch.Generator().manual_seed(0)
        sound = torch.randn(40, 8, generator=generator)
        for file, table in (("sound", sound), ("text", sound + 0.4 * torch.randn(40, 8, generator=generator))):
            rows = (",".join(f"{x:.4f}" for x in row) for row in table.tolist())
            (folder / f"{file}.csv").write_text("\n".join(rows) + "\n", "utf-8")
        copy(FINDINGS, folder)
        IMAGE.write_text(drawn(record(COMMANDS, folder)), "utf-8")


if __name__ == "__main__":
    main()
