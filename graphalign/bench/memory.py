"""Peak memory of one step, in a fresh process: `python -m graphalign.bench.memory sinkhorn implicit 32 256 100`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

from graphalign.bench.machine import one_thread

STEPS = {
    "sinkhorn": "graphalign.bench.soft:soft_step",
    "quadratic": "graphalign.bench.quadratic:quadratic_step",
}  # what -> the function that makes its step


def peak_mb(what: str, contender: str, *sizes: int) -> float | None:
    """Megabytes that a step takes beyond its inputs; None where the system does not tell, or the step failed."""
    command = [sys.executable, "-m", "graphalign.bench.memory", what, contender, *map(str, sizes)]
    done = subprocess.run(command, env=one_thread(), capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 and done.stdout.strip() else None


def print_memory(what: str, contender: str, *sizes: str) -> None:
    """Measure in this process and print megabytes."""
    step = resolve_name(STEPS[what])(contender, *map(int, sizes))
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the high-water mark starts again
    before = status("VmRSS")
    step()
    print(round((status("VmHWM") - before) / 1024, 1))


def status(key: str) -> int:
    """Kilobytes, from the kernel's account of this process."""
    told = re.search(rf"^{key}:\s*(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    return int(told[1]) if told else 0


if __name__ == "__main__":
    print_memory(*sys.argv[1:])
