"""One matching, or several, in figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from graphalign.compatibility import order_of
from graphalign.extras import installed
from graphalign.files.constraints import Constraints
from graphalign.files.embeddings import Embeddings
from graphalign.files.pairing import Pairing, Parts
from graphalign.files.truth import accuracy

SCHEMA = 1
PACKAGES = ("exgra", "torch", "numpy", "scipy", "lapx", "pygmtools")


def matching_summary(
    files: Sequence[Embeddings], parts: Parts, pairs: Sequence[dict[str, Any]], reason: str, given: Constraints
) -> dict[str, Any]:
    """The whole command: inputs with their hashes, parts, versions, and every pair of files."""
    return {
        "schema": SCHEMA,
        "files": input_files(files),
        "solver": repr(parts.solver),
        "why": reason,
        "graph": repr(parts.graph) if order_of(parts.solver) == 2 else None,
        "affinity": repr(parts.affinity),
        "unmatched": parts.unmatched,
        "seeds": given_pairs(given.seeds, given.files[0]),
        "forbidden": given_pairs(given.forbidden, given.files[1]),
        "pairs": list(pairs),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def given_pairs(pairs: np.ndarray | None, path: Path | None) -> dict[str, Any] | None:
    """Pairs that a person fixed or forbade: their file, its hash, and their number; None where there are none."""
    if pairs is None or path is None:
        return None
    return {"path": str(path), "pairs": len(pairs), "sha256": sha256(path.read_bytes()).hexdigest()}


def input_files(files: Sequence[Embeddings]) -> list[dict[str, Any]]:
    """What identifies each input, as a summary holds it."""
    return [
        {"name": f.name, "path": str(f.path), "rows": len(f.x), "width": f.x.shape[1], "sha256": f.sha256}
        for f in files
    ]


def pair_figures(pairing: Pairing, truth: np.ndarray | None) -> dict[str, Any]:
    """One pair of files."""
    return {
        "rows": pairing.first.name,
        "columns": pairing.second.name,
        "matched": len(pairing.rows),
        "unmatched_rows": len(pairing.first.x) - len(pairing.rows),
        "unmatched_columns": len(pairing.second.x) - len(pairing.rows),
        "mutual": int(pairing.mutual.sum()) if pairing.judged else None,
        "mean_score": number(pairing.score.mean() if len(pairing.score) else math.nan),
        "objective": number(pairing.objective),
        "bound": number(pairing.bound),
        "gap": number(pairing.gap),
        "converged": pairing.converged,
        "residual": number(pairing.residual),
        "interrupted": pairing.interrupted,
        "ms": round(pairing.ms, 3),
        **(accuracy(pairing, truth) if truth is not None else {}),
    }


def number(value: Any) -> float | None:
    """A figure that JSON can hold."""
    return float(value) if value is not None and math.isfinite(value) else None
