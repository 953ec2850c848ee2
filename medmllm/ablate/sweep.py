"""All runs of a grid: what is finished is kept, what is missing is run, what fails is recorded and the rest continues.

runs/ablation/          grid.yaml, cells.json, the report
runs/cells/<key>/       one ordinary run folder for each configuration, shared by all sweeps beside it
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from medmllm.ablate.cell import BUSY, lock_of
from medmllm.ablate.grid import Cell, Grid, Point, load_grid
from medmllm.ablate.places import Places
from medmllm.errors import ConfigError
from medmllm.run.folder import RunFolder
from medmllm.settings.load import dump
from medmllm.settings.schema import Config
from medmllm.settings.yaml_text import write_yaml

GRID, CELLS = "grid.yaml", "cells.json"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell.

    Attributes:
        key: name of the run's folder.
        status: `done`, `failed`, `skipped` (the settings do not fit together), or `missing` (not run yet).
        error: why it failed or was skipped.
        accuracy: share of right answers to the questions of the split, where it is done.
    """

    point: Point
    seed: int
    key: str
    status: str
    error: str = ""
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__}


@dataclass(frozen=True)
class Sweep:
    """The runs of a grid and where they lie."""

    grid: Grid
    folder: Path

    @classmethod
    def open(cls, grid: Grid, folder: Path) -> Sweep:
        """Make the folder, or take up the one that this grid has, also with fewer seeds or another reference.

        A sweep is never overwritten by another.

        Raises:
            ConfigError: the folder holds something else.
        """
        if folder.exists() and any(folder.iterdir()) and not holds(folder, grid):
            raise ConfigError(
                f"{folder} holds another grid, or something else, and is not overwritten",
                where="--out",
                hint=f"choose another folder, finished runs are found again from there: --out {folder}-2",
            )
        folder.mkdir(parents=True, exist_ok=True)
        RunFolder(folder).write_text(GRID, write_yaml(grid.to_dict()))
        return cls(grid, folder)

    @classmethod
    def reopen(cls, folder: Path) -> Sweep:
        """A sweep that is there.

        Raises:
            ConfigError: the folder holds none.
        """
        if not (folder / GRID).is_file():
            raise ConfigError(f"{folder} holds no sweep", where=str(folder), hint="exgra ablate --out PATH makes one")
        return cls(load_grid(str(folder / GRID)), folder)

    @property
    def cells(self) -> Path:
        """The folder of the runs, shared with the sweeps beside this one."""
        return self.folder.parent / "cells"

    def outcomes(self) -> list[Outcome]:
        """Every cell as it is on disk."""
        return [self.outcome(cell) for cell in self.grid.cells]

    @cached_property
    def places(self) -> Places:
        """Where the runs are, those of earlier versions too."""
        return Places(self.cells)

    def folder_of(self, cell: Cell) -> Path:
        """The folder of a cell's run."""
        assert cell.config is not None
        return self.cells / self.places.name_of(cell.config)

    def outcome(self, cell: Cell) -> Outcome:
        if cell.config is None:
            return Outcome(cell.point, cell.seed, "", "skipped", cell.skipped)
        folder = self.folder_of(cell)
        summary, name = folder / "summary.json", folder.name
        found = json.loads(summary.read_text("utf-8")) if summary.exists() else {}
        status = found.get("status")
        if status == "done":
            return Outcome(cell.point, cell.seed, name, "done", accuracy=found[self.grid.split]["accuracy"])
        if status == "failed":
            return Outcome(cell.point, cell.seed, name, "failed", found.get("error", ""))
        return Outcome(cell.point, cell.seed, name, "missing")

    def missing(self) -> list[Cell]:
        """The cells that are still to be run, each configuration once, failed ones too."""
        found = {c.key: c for c in self.grid.cells if c.config and self.outcome(c).status in ("missing", "failed")}
        return list(found.values())

    def run(self, jobs: int, heard: Callable[[Outcome, int, int], None]) -> list[Outcome]:
        """Run what is missing, `jobs` at once, and return all outcomes.

        Args:
            jobs: processes at once; each gets its share of the cores.
            heard: called as `heard(outcome, finished, total)` whenever one ends.
        """
        self.cells.mkdir(parents=True, exist_ok=True)
        missing, busy = self.missing(), []
        ended = 0
        for cell, code, said in _pool(self._start, missing, jobs):
            if code == BUSY:
                busy.append(cell)
                continue
            ended += 1
            heard(self._after(cell, code, said), ended, len(missing))
            self.save()
        for cell, code, said in _pool(self._start_when_free, busy, jobs):
            ended += 1
            heard(self._after(cell, code, said), ended, len(missing))
        self.save()
        return self.outcomes()

    def save(self) -> None:
        """Write `cells.json`."""
        RunFolder(self.folder).write_json(CELLS, [outcome.to_dict() for outcome in self.outcomes()])

    def _start(self, cell: Cell, jobs: int) -> tuple[int, str]:
        assert cell.config is not None
        return run_in_process(cell.config, self.folder_of(cell), jobs)

    def _start_when_free(self, cell: Cell, jobs: int) -> tuple[int, str]:
        """Another sweep was at it; when that has ended, it is either done or begun again."""
        with FileLock(lock_of(self.folder_of(cell))):
            pass
        return self._start(cell, jobs)

    def _after(self, cell: Cell, code: int, said: str) -> Outcome:
        """The outcome of a run that ended; one that was killed left none, and has failed too."""
        outcome = self.outcome(cell)
        if outcome.status == "done":
            return outcome
        run = RunFolder(self.folder_of(cell))
        reason = said or f"the process ended with code {code}"
        if outcome.status == "missing" and run.path.exists():
            run.set_status("failed", error=reason)
        return Outcome(cell.point, cell.seed, outcome.key, "failed", outcome.error or reason)


def holds(folder: Path, grid: Grid) -> bool:
    """Whether a folder is a sweep of this grid, with as many seeds or fewer."""
    if not (folder / GRID).is_file():
        return False
    there, here = load_grid(str(folder / GRID)), grid
    return replace(there, seeds=here.seeds, reference=here.reference) == here and there.seeds <= here.seeds


def run_in_process(config: Config, folder: Path, jobs: int = 1) -> tuple[int, str]:
    """Run one configuration in a process of its own; return its exit code, and its last words where it failed."""
    done = in_process("medmllm.ablate.cell", config, folder, jobs)
    lines = done.stderr.strip().splitlines()
    return done.returncode, lines[-1] if lines and done.returncode else ""


def in_process(module: str, config: Config, folder: Path, jobs: int) -> subprocess.CompletedProcess[str]:
    """Call `python -m module CONFIG FOLDER` with the share of the cores that one of `jobs` gets."""
    cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // jobs)), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.yaml"
        path.write_text(dump(config), "utf-8")
        command = [sys.executable, "-m", module, str(path), str(folder)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def _pool(
    start: Callable[[Cell, int], tuple[int, str]], cells: Sequence[Cell], jobs: int
) -> Iterator[tuple[Cell, int, str]]:
    """Cells as they end, `jobs` at once; on Ctrl-C the running ones save themselves and no other is begun."""
    with ThreadPoolExecutor(jobs) as pool:
        open_: dict[Future[tuple[int, str]], Cell] = {pool.submit(start, cell, jobs): cell for cell in cells}
        try:
            while open_:
                for future in wait(open_, return_when=FIRST_COMPLETED).done:
                    yield open_.pop(future), *future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
