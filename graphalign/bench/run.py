"""A benchmark from its parts to one document, in a process of its own with one thread."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any

from graphalign.bench.machine import machine, one_thread, versions
from graphalign.errors import RunError

SCHEMA = 1
PARTS = {
    "solvers": {
        "linear": "graphalign.bench.linear:measure_linear",
        "sinkhorn": "graphalign.bench.soft:measure_soft",
        "quadratic": "graphalign.bench.quadratic:measure_quadratic",
        "growth": "graphalign.bench.growth:measure_growth",
    },
    "gradients": {"gradients": "graphalign.bench.gradients:measure_gradients"},
}


def in_own_process(kind: str, parts: list[str], seed: int, *, quick: bool) -> dict[str, Any]:
    """The document of a benchmark, measured by `python -m graphalign.bench` with one thread.

    Raises:
        RunError: The process failed; what it said is on stderr already.
    """
    asked = json.dumps({"kind": kind, "parts": parts, "seed": seed, "quick": quick})
    done = subprocess.run([sys.executable, "-m", "graphalign.bench", asked], env=one_thread(), stdout=subprocess.PIPE)
    if done.returncode:
        raise RunError(f"the measuring process ended with {done.returncode}", hint="its last lines are above")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def document(kind: str, parts: list[str], seed: int, *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure here and now."""
    from graphalign.bench.rows import Plan

    limit_memory()
    use_one_thread()
    plan = Plan(quick, seed, say)
    rows = [row.to_dict() for part in parts for row in resolve_name(PARTS[kind][part])(plan)]
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": seed,
        "quick": quick,
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }


def limit_memory() -> None:
    """A contender that asks for more memory than there is fails by itself, and not the whole machine."""
    from graphalign.bench.memory import status
    from graphalign.files.room import SHARE, free_memory

    most = 1024 * status("VmSize") + int(SHARE * free_memory()) + 2**32  # shared libraries count too
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)
