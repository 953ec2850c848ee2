"""Cells of two assays, matched one to one, with a certificate.

    python docs/tutorials/cells_of_two_assays.py --cells 20000

One assay counts genes, the other sees where the genome is open; each destroys the cell. Which cell of the one is like
which of the other? The cells here are made by a program: a type, a state within it, and two noisy linear views. Some
hundred cells measured by both assays give a map between the views. Everything else is written to files and matched by
`exgra match`. Takes seconds for 20,000 cells and a few minutes for 100,000.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import graphalign as ga
from graphalign.solvers.sparse import Progress

STATES, GENES, PEAKS, TYPES = 24, 60, 40, 12
NOISE, ANCHORS = 0.8, 500
Floats = NDArray[np.float32]


class Assays(NamedTuple):
    """Two sets of cells in one space.

    Args:
        genes: cells of the first assay, `(cells, width)`.
        peaks: cells of the second, mapped to the same space, in another order.
        types: the type of each cell of the first.
        partner: the cell of the second that each was made with.
    """

    genes: Floats
    peaks: Floats
    types: NDArray[np.int64]
    partner: NDArray[np.int64]


def cells(count: int, seed: int = 0) -> Assays:
    """Cells of rare and common types in two assays; the map between these is learned from some that both see."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(TYPES, 2.0))
    types = random.choice(TYPES, count + ANCHORS, p=shares)
    centres = 2.0 * random.standard_normal((TYPES, STATES))
    states = centres[types] + random.standard_normal((count + ANCHORS, STATES))
    views = [states @ random.standard_normal((STATES, size)) / np.sqrt(STATES) for size in (GENES, PEAKS)]
    genes, peaks = (view + NOISE * random.standard_normal(view.shape) for view in views)
    # Ridge regression on the cells that both assays saw; these are not matched below.
    known = peaks[:ANCHORS]
    learned = np.linalg.solve(known.T @ known + 0.1 * np.eye(PEAKS), known.T @ genes[:ANCHORS])
    genes, peaks, types = genes[ANCHORS:], peaks[ANCHORS:] @ learned, types[ANCHORS:]
    middle, order = genes.mean(0), random.permutation(count)
    partner = np.argsort(order)
    return Assays((genes - middle).astype(np.float32), (peaks - middle)[order].astype(np.float32), types, partner)


def write(assays: Assays, folder: Path) -> None:
    """The files that a person would have."""
    np.save(folder / "genes.npy", assays.genes)
    np.save(folder / "peaks.npy", assays.peaks)
    np.save(folder / "partner.npy", assays.partner)


def match_files(folder: Path, gap: float = 1e-5) -> None:
    """`exgra match` on the files."""
    names = [str(folder / f"{name}.npy") for name in ("genes", "peaks", "partner")]
    command = [sys.executable, "-m", "exgra", "match", *names[:2], "--truth", names[2], "--solver", "sparse"]
    subprocess.run([*command, "--gap", str(gap), "--out", str(folder / "matched")], check=True)


def match(assays: Assays, gap: float = 1e-5) -> tuple[NDArray[np.int64], ga.Solution, list[Progress]]:
    """The same in Python: the column of each row, the solution, and how the search went."""
    course: list[Progress] = []
    factors = ga.Factors(torch.from_numpy(assays.genes), torch.from_numpy(assays.peaks))
    solution = ga.Sparse(gap=gap, progress=course.append)(ga.Problem(factors))
    rows, columns = solution.pairs()
    assert torch.equal(rows, torch.arange(len(assays.genes)))
    return columns.numpy(), solution, course


def nearest(assays: Assays) -> NDArray[np.int64]:
    """The most similar cell of the other assay for each by itself; several may take the same."""
    x, y = (torch.nn.functional.normalize(torch.from_numpy(side), dim=1) for side in (assays.genes, assays.peaks))
    best: NDArray[np.int64] = torch.cat([(part @ y.T).argmax(1) for part in x.split(1024)]).numpy()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20_000)
    assays = cells(parser.parse_args().cells)
    with tempfile.TemporaryDirectory() as folder:
        write(assays, Path(folder))
        match_files(Path(folder))
    columns, solution, _ = match(assays)
    alone = nearest(assays)
    print(f"objective {float(solution.objective):.2f}, no matching exceeds {float(solution.bound):.2f}")
    print(f"right: {(columns == assays.partner).mean():.1%} matched, {(alone == assays.partner).mean():.1%} nearest")
    print(f"cells of the second assay that nobody is nearest to: {1 - len(np.unique(alone)) / len(alone):.1%}")


if __name__ == "__main__":
    main()
