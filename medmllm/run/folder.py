"""The folder of one run: what it holds, and how it survives a kill at any moment.

    config.yaml  overrides.txt  environment.json  data.json  metrics.jsonl  timings.jsonl  summary.json
    train.log  error.log  checkpoints/  model/  plots/  eval/

Whole files are written beside their place and moved into it, so a reader never meets half a file. `metrics.jsonl` holds
only figures that the same configuration reproduces; wall times are in `timings.jsonl`.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.errors import ConfigError, RunError, command_line
from medmllm.run.aside import written_aside
from medmllm.run.lock import NAME as LOCK
from medmllm.run.lock import locked
from medmllm.text.jsonl import read_whole_lines

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
FOLDERS = {"checkpoints", "eval", "plots"}
FILES = {"config.yaml", METRICS, "summary.json"}  # by which a folder is known as a run's
MATCHING_BEFORE, MATCHING_AFTER = "eval/matching_before.json", "eval/matching_after.json"
COPIED = ("config.yaml", "data.json", MATCHING_BEFORE, MATCHING_AFTER, METRICS, TIMINGS)
RESERVE, RESERVED = ".reserve", 2**17  # bytes that a full disk leaves for the status and the traceback


@dataclass(frozen=True)
class RunFolder:
    """Paths and writes of one run."""

    path: Path

    @classmethod
    def open(cls, path: Path, *, resume: bool) -> RunFolder:
        """Make the folder, or take up an existing one when `resume`; a run is never overwritten."""
        check_folder(path, resume=resume)
        for name in sorted(FOLDERS):
            (path / name).mkdir(parents=True, exist_ok=True)
        return cls(path)

    def write_text(self, name: str, text: str) -> None:
        """Replace a file in one move."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Replace a file in one move."""
        with written_aside(self.path / name) as part:
            part.write_bytes(data)

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """The value of a JSON file.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            raise RunError("the file is missing", where=str(path), hint=self._remedy(name)) from None
        except (ValueError, RecursionError):
            raise RunError("the file is damaged: it is not JSON", where=str(path), hint=self._remedy(name)) from None

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Add one line; the operating system has it before the next step begins."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def lines(self, name: str = METRICS) -> list[dict[str, Any]]:
        """All whole lines; one that a kill tore off at the end is left out.

        Raises:
            DataError: a line is damaged.
        """
        path = self.path / name
        return read_whole_lines(path, hint=self._remedy(name)) if path.exists() else []

    def gaps(self, steps: int) -> str:
        """Missing or doubled steps of `metrics.jsonl`, in a sentence; "" where there are none."""
        counts = Counter(line.get("step") for line in self.lines() if "loss" in line)
        lost = sum(not counts[step] for step in range(1, steps + 1))
        doubled = sum(count > 1 for count in counts.values())
        found = [f"{lost} of {count_of(steps, 'step is', 'steps are')} missing"] if lost else []
        found += [f"{count_of(doubled, 'step is', 'steps are')} written more than once"] if doubled else []
        return f"{METRICS} is damaged: {' and '.join(found)}, so the curves are wrong." if found else ""

    def drop_lines(self) -> None:
        """Drop all that was logged, damaged or not: the run is about to do it again from its beginning."""
        for name in (METRICS, TIMINGS):
            self.write_text(name, "")

    def copies(self) -> dict[str, bytes]:
        """The files that cannot be made again, as a checkpoint keeps them."""
        paths = [self.path / name for name in COPIED]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def rebuild(self, copies: Mapping[str, bytes]) -> list[str]:
        """Put the files back as they were at a checkpoint; the names of those that had been lost or damaged by then.

        Lines after the checkpoint are dropped: the run is about to do those steps again.
        """
        damaged = []
        for name in COPIED:
            path, copy = self.path / name, copies.get(Path(name).name)
            if copy is None or name == "config.yaml":
                continue
            content = path.read_bytes() if path.exists() else b""
            if content != copy:
                self.write_bytes(name, copy)
            if not (_goes_on(content, copy) if name in (METRICS, TIMINGS) else content == copy):
                damaged.append(name)
        return damaged

    def log(self, text: str) -> None:
        """Add a line with the time of day to `train.log`."""
        text = f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}"
        with (self.path / "train.log").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def set_status(self, status: str, **more: Any) -> dict[str, Any]:
        """Write summary.json: what it held, with `status` and `more` over it."""
        try:
            before = self.read_json("summary.json")
        except RunError:  # there is none yet, or it is damaged, and made again here
            before = {}
        summary = {**before, "status": status, **more}
        self.write_json("summary.json", summary)
        return summary

    def status(self) -> str | None:
        """What summary.json says of the run; None before it has one.

        Raises:
            RunError: it is damaged.
        """
        if not (self.path / "summary.json").exists():
            return None
        summary = self.read_json("summary.json")
        if not isinstance(summary, dict) or not isinstance(summary.get("status"), str):
            raise self.damaged("summary.json", "it has no status")
        return str(summary["status"])

    def damaged(self, name: str, why: str) -> RunError:
        """The error of a file of the run that is not as it was written, with its remedy."""
        return RunError(f"the file is damaged: {why}", where=str(self.path / name), hint=self._remedy(name))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep summary.json and error.log true when the work inside ends early, also for a full disk.

        A disk so full that not even the reserve makes room must not hide the first error, so failures to write are
        passed over here.
        """
        reserve = self.path / RESERVE
        try:
            reserve.write_bytes(bytes(RESERVED))
            yield
            (self.path / "error.log").unlink(missing_ok=True)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            with suppress(OSError):
                reserve.unlink(missing_ok=True)
                self.set_status("interrupted" if interrupted else "failed", error=str(error))
            with suppress(OSError):
                self.write_text("error.log", traceback.format_exc())
            raise
        finally:
            with suppress(OSError):
                reserve.unlink(missing_ok=True)

    def _remedy(self, name: str) -> str:
        """The remedy for a file of the run that is missing or damaged."""
        resume = command_line("train", "--resume", "--out", self.path)
        if name == "summary.json":
            return f"remove it and write it again: {resume}"
        if name in COPIED:
            return f"put it back from a checkpoint: {resume}"
        return f"write it again: {resume}"


class Follower(RunFolder):
    """The run's folder for ranks above 0: read, never written."""

    def write_text(self, name: str, text: str) -> None: ...

    def append(self, name: str, line: Mapping[str, Any]) -> None: ...

    def log(self, text: str) -> None: ...

    def set_status(self, status: str, **more: Any) -> dict[str, Any]:
        return {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        yield


def _goes_on(content: bytes, copy: bytes) -> bool:
    """Whether lines are those of a copy with later steps after them."""
    begun = {line.partition(b",")[0] for line in copy.split(b"\n")}
    later = content[len(copy) :].split(b"\n")[:-1]
    return content.startswith(copy) and not any(line.partition(b",")[0] in begun for line in later)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold a run's folder against all other processes; one that is made for this and stays empty goes again.

    Raises:
        RunError: another living process holds it.
    """
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path):
            yield
    finally:
        if made:
            with suppress(OSError):  # it holds a run
                path.rmdir()


def check_folder(path: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something, unless it is a run to be continued. Create nothing."""
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir()} - {LOCK} if path.is_dir() else {path.name}
    if resume and names and not (names & FILES or names <= FOLDERS):
        raise ConfigError(
            f"{path} is not the folder of a run", where="--out", hint="name the folder that a run has made"
        )
    if names and not resume:
        raise ConfigError(
            f"{path} exists already, and a run is never overwritten",
            where="--out",
            hint=f"continue it with --resume, or choose another folder: --out {path}-2",
        )
