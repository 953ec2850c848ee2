"""The folder of one run: what it holds, and how it survives a kill at any moment.

    config.yaml  overrides.txt  environment.json  data.json  metrics.jsonl  timings.jsonl  summary.json
    train.log  error.log  checkpoints/  model/  plots/  eval/

Whole files are written beside their place and moved into it, so a reader never meets half a file. `metrics.jsonl` holds
only figures that the same configuration reproduces; wall times stand in `timings.jsonl`.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medmllm.errors import ConfigError

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
FOLDERS = {"checkpoints", "eval", "plots"}
FILES = {"config.yaml", METRICS, "summary.json"}  # by which a folder is known as a run's


@dataclass(frozen=True)
class RunFolder:
    """Paths and writes of one run."""

    path: Path

    @classmethod
    def open(cls, path: Path, *, resume: bool) -> RunFolder:
        """Makes the folder, or takes up an existing one when `resume`; a run is never overwritten."""
        check_folder(path, resume=resume)
        for name in sorted(FOLDERS):
            (path / name).mkdir(parents=True, exist_ok=True)
        return cls(path)

    def write_text(self, name: str, text: str) -> None:
        """Replaces a file in one move."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replaces a file in one move."""
        target = self.path / name
        part = target.with_name(f".{target.name}.part")
        try:
            part.write_bytes(data)
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text("utf-8"))

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Adds one line; the operating system has it before the next step begins."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def lines(self, name: str = METRICS) -> list[dict[str, Any]]:
        """All whole lines; one that a kill tore off at the end is left out."""
        path = self.path / name
        return list(_whole_lines(path)) if path.exists() else []

    def rewind(self, step: int) -> None:
        """Drops what was logged after `step`: the run is about to do it again."""
        for name in (METRICS, TIMINGS):
            kept = [line for line in self.lines(name) if line["step"] <= step]
            self.write_text(name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    def log(self, text: str) -> None:
        """Adds a line with the time of day to `train.log`."""
        text = f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}"
        with (self.path / "train.log").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def set_status(self, status: str, **more: Any) -> dict[str, Any]:
        """Writes summary.json: what it held, with `status` and `more` over it."""
        before = self.read_json("summary.json") if (self.path / "summary.json").exists() else {}
        summary = {**before, "status": status, **more}
        self.write_json("summary.json", summary)
        return summary

    def status(self) -> str | None:
        """What summary.json says of the run; None before it has one."""
        return self.read_json("summary.json").get("status") if (self.path / "summary.json").exists() else None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps summary.json and error.log true when the work inside ends early.

        A disk too full to say so must not hide the first error, so failures to write are passed over here.
        """
        try:
            yield
            (self.path / "error.log").unlink(missing_ok=True)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            with suppress(OSError):
                self.set_status("interrupted" if interrupted else "failed", error=str(error))
            with suppress(OSError):
                self.write_text("error.log", traceback.format_exc())
            raise


class Follower(RunFolder):
    """The run's folder as a process sees it that is not the first: to be read, never written."""

    def write_text(self, name: str, text: str) -> None: ...

    def append(self, name: str, line: Mapping[str, Any]) -> None: ...

    def log(self, text: str) -> None: ...

    def set_status(self, status: str, **more: Any) -> dict[str, Any]:
        return {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        yield


def check_folder(path: Path, *, resume: bool) -> None:
    """Refuses a folder that holds something, unless it is a run to be continued. Creates nothing."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    if resume and not (names & FILES or names <= FOLDERS):
        raise ConfigError(
            f"{path} is not the folder of a run.", where="--out", hint="name the folder that a run has made"
        )
    if not resume:
        raise ConfigError(
            f"{path} exists already, and a run is never overwritten.",
            where="--out",
            hint=f"continue it with --resume, or choose another folder: --out {path}-2",
        )


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
