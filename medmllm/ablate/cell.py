"""One run of a sweep, in a process of its own: `python -m medmllm.ablate.cell CONFIG FOLDER`.

A process that runs out of memory or crashes takes no other run with it. It ends by itself when the sweep is killed, and
no two processes work in one folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

from medmllm.errors import UserError
from medmllm.settings.load import load_config
from medmllm.training.trainer import train

BUSY = 75  # EX_TEMPFAIL: another process is at it


def run_cell(config: str, folder: str) -> int:
    """Run or continue one run; return the exit code."""
    threading.Thread(target=end_with_the_sweep, args=(os.getppid(),), daemon=True).start()
    path = Path(folder)
    try:
        with FileLock(lock_of(path), timeout=0):
            train(load_config(config), path, resume=path.exists())
            drop_checkpoints(path)
    except Timeout:
        return BUSY
    except UserError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    return 0


def lock_of(folder: Path) -> Path:
    """The lock of the process that works in the folder."""
    return folder.with_suffix(".lock")


def drop_checkpoints(folder: Path) -> None:
    """A run that is done is not resumed, and a sweep has many."""
    for saved in (folder / "checkpoints").glob("step-*"):
        shutil.rmtree(saved)


def end_with_the_sweep(parent: int) -> None:
    """A process whose parent was killed gets another one; what is saved is continued by the next sweep."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(run_cell(*sys.argv[1:]))
