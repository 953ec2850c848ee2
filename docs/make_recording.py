"""Records commands in a terminal of 80 columns and draws the recording as a moving SVG, `docs/images/recording.svg`.

    python docs/make_recording.py

It draws the commands' output at its true times; waits above a second and a half are cut, and after each command there
is time to read. Where pictures do not move, the last screen is shown. The commands run in a folder that holds two small
files of embeddings, an image of the embedded test set, a program that asks a server, and the findings of an ablation
that ran before, those of `benchmarks/results`. The terminal cannot redraw a line, so that all that was said stays.
As in a shell, `&` leaves a server in the background once its port answers, and `fg` brings it back for Ctrl-C.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from shutil import copy
from typing import TextIO

import torch

from medmllm.data.embedded_source import EmbeddedSource

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
    "exgra chat runs/first --web --image film.png &",
    "curl -s http://127.0.0.1:7860 | grep -o 'ExGra · [a-z]*' | head -1",
    "fg",
    "exgra serve runs/first &",
    "cat ask.py",
    "python ask.py",
    "fg",
)
FILM, ASK = (
    "test-00120",
    """\
from base64 import b64encode
from pathlib import Path
from openai import OpenAI

server = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
film = b64encode(Path("film.png").read_bytes()).decode()
image = {"url": f"data:image/png;base64,{film}"}
question = {"type": "text", "text": "Does this chest film show pneumonia?"}
content = [{"type": "image_url", "image_url": image}, question]
talk = [{"role": "user", "content": content}]
said = server.chat.completions.create(model="exgra", messages=talk)
print(said.choices[0].message.content)
""",
)
LONGEST_WAIT, TYPING, LAST = 1.5, 0.04, 12.0  # seconds: of a wait, of a letter, of the last screen
READING = 0.75  # seconds for each line of a command
ROWS, COLUMNS, HIGH, WIDE = 26, 80, 17.0, 7.85  # of the terminal, and of a letter in pixels
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
SERVED = re.compile(r"http://127\.0\.0\.1:(\d+)")
Line = tuple[float, str]


@dataclass
class Job:
    """A command in its terminal, whose lines come from `screen`."""

    command: str
    process: subprocess.Popen[bytes]
    screen: TextIO

    @classmethod
    def start(cls, command: str, folder: Path) -> Job:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "PATH": path}
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, preexec_fn=lambda: os.login_tty(theirs)
        )
        os.close(theirs)
        return cls(command, process, os.fdopen(ours, errors="replace"))

    def said(self, *, until_it_serves: bool = False) -> Iterator[tuple[float, str]]:
        """Its lines, each with the wait before it, until it ends, or until the port answers that it named."""
        before, text = time.monotonic(), ""
        with suppress(OSError):  # the end of a terminal is an error
            for line in self.screen:
                now = time.monotonic()
                yield now - before, CONTROL.sub("", line).rstrip()
                before, text = now, text + line
                if until_it_serves and "Ctrl-C stops it" in " ".join(text.split()) and (named := SERVED.search(text)):
                    return self.wait_for(int(named[1]))
        self.screen.close()
        self.process.wait()
        if until_it_serves:
            raise RuntimeError(f"{self.command} ended before its port answered")
        return None

    def wait_for(self, port: int) -> None:
        """Wait until something listens at the port."""
        while self.process.poll() is None:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.2)

    def press_ctrl_c(self) -> None:
        os.write(self.screen.fileno(), b"\x03")


def record(commands: tuple[str, ...], folder: Path) -> list[Line]:
    """Every line on the screen with the second in which it came."""
    clock, lines, serving = 0.0, list[Line](), list[Job]()
    for command in commands:
        clock += TYPING * len(command) if lines else 0.0  # the first is there from the beginning
        lines.append((clock, f"$ {command}"))
        begun = len(lines)
        for wait, line in said(command, folder, serving):
            clock += min(wait, LONGEST_WAIT)
            lines += [(clock, line[start : start + COLUMNS]) for start in range(0, max(len(line), 1), COLUMNS)]
        clock += max(LONGEST_WAIT, READING * (len(lines) - begun))
        lines.append((clock, ""))
    return lines[:-1]


def said(command: str, folder: Path, serving: list[Job]) -> Iterator[tuple[float, str]]:
    """The lines that a command writes on a terminal, each with the wait before it; `serving` has the servers."""
    if command == "fg":
        job = serving.pop()
        yield 0.0, job.command
        job.press_ctrl_c()
        yield from list(job.said()) or [(0.0, "^C")]  # a last line without an end is lost with its terminal
    elif command.endswith(" &"):
        serving.append(Job.start(command.removesuffix(" &"), folder))
        yield from serving[-1].said(until_it_serves=True)
    else:
        yield from Job.start(command, folder).said()


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
        embedded = EmbeddedSource()
        (film,) = (record for record in embedded.records("test") if record.id == FILM)
        embedded.image(film).save(folder / "film.png")
        (folder / "ask.py").write_text(ASK, "utf-8")
        IMAGE.write_text(drawn(record(COMMANDS, folder)), "utf-8")


if __name__ == "__main__":
    main()
