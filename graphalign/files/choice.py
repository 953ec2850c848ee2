"""Which solver matches two files where none is requested: a dense one where its table is small, else the sparse one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from graphalign.errors import ConfigError
from graphalign.factors import BLOCKWISE
from graphalign.files.embeddings import Embeddings
from graphalign.files.pairing import Parts
from graphalign.files.room import SHARE, dense_bytes, free_memory
from graphalign.solvers import Lap, Sparse

#: Scores that a table may hold where the choice is free: up to there the dense solver is about as fast or faster.
SMALL = 4000**2
#: The gap of a sparse matching that nobody asked for by name.
GAP = 1e-5


class Choice(NamedTuple):
    """The parts with a solver, and why it is this one."""

    parts: Parts
    reason: str


def choose_solver(first: Embeddings, second: Embeddings, parts: Parts, gap: float | None) -> Choice:
    """Return the parts with a solver for these files; one that was asked for stays, with the gap that was.

    Args:
        first: The rows.
        second: The columns.
        parts: With a solver, or with None to choose one.
        gap: For the solver sparse, or None.

    Raises:
        ConfigError: A gap is asked of a solver that has none.
    """
    if parts.solver is not None:
        return Choice(parts if gap is None else parts._replace(solver=_with_gap(parts.solver, gap)), "asked for")
    n, m = len(first.x), len(second.x)
    needed, free = dense_bytes(n, m, max(first.x.itemsize, second.x.itemsize), graphs=False, lap=True), free_memory()
    table = f"the table of {n:,} x {m:,} scores"
    if not isinstance(parts.affinity, BLOCKWISE):
        return Choice(parts._replace(solver=Lap()), f"{type(parts.affinity).__name__} gives scores in a table only")
    if n * m <= SMALL:
        return Choice(
            parts._replace(solver=Lap()),
            f"{table} takes {_size(n * m * max(first.x.itemsize, second.x.itemsize))}, so `lap` is quick",
        )
    solver = Sparse(gap=GAP if gap is None else gap)
    why = f"has more than {SMALL:,} entries, so `sparse`, which needs no table, is chosen"
    if needed > SHARE * free:
        why = f"would need {_size(needed)} with `lap`, and {_size(free)} are free"
    return Choice(parts._replace(solver=solver), f"{table} {why}")


def _size(count: float) -> str:
    """Bytes in the unit of their size."""
    for unit, one in (("GB", 2**30), ("MB", 2**20)):
        if count >= one:
            return f"{count / one:.2g} {unit}" if count < 100 * one else f"{count / one:.0f} {unit}"
    return f"{count / 2**10:.2g} kB"


def _with_gap(solver: object, gap: float) -> Sparse:
    if not isinstance(solver, Sparse):
        say = f"{type(solver).__name__} has no gap to stop at"
        raise ConfigError(say, where="--gap", hint="--solver sparse --gap 1e-4")
    try:
        return replace(solver, gap=gap)
    except ValueError as error:
        raise ConfigError(str(error), where="--gap", hint="--gap 1e-4") from None
