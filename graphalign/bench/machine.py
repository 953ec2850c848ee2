"""What figures were measured on: processor, memory, versions; and a process that uses one thread."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from graphalign.extras import installed

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PACKAGES = ("exgra", "torch", "numpy", "scipy", "lapx", "lapjv", "numba", "pygmtools", "pot")


def one_thread() -> dict[str, str]:
    """The environment of a process whose libraries use one thread; it must be set before they are imported."""
    return {**os.environ, **dict.fromkeys(THREADS, "1")}


def machine() -> dict[str, Any]:
    """Processor, cores, memory and threads, as the results keep them."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "threads": 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str | None]:
    """Versions of the packages that take part; None for one that is not installed."""
    return {name: installed(name) for name in PACKAGES}


def processor() -> str:
    try:
        told = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()
