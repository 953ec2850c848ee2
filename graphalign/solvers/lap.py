"""Exact linear assignment by the Jonker-Volgenant method: the fastest exact solver here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from ..arguments import check_choice
from ..compatibility import SolverTraits
from ..extras import pip_line
from ..problem import Problem, Solution
from .assignment import Array, ColumnEngine, Found, assign_columns, cut_out
from .certificate import favourites
from .preparation import settle

# To our own engine: all nodes are real.
EVERY = np.ones((0, 0), bool)


@dataclass(frozen=True)
class Lap(SolverTraits):
    r"""The matching of highest total node score, $\max_X \langle S, X\rangle$, exactly and fast, by Jonker-Volgenant.

    When to use it: for training. Same optimum as `hungarian`, in less time; where several matchings are optimal the two
    may return different ones, and so may the two engines.

    Cost: $O(n^3)$ in the worst case; one look at the scores where no two rows prefer the same column, which is then
    the optimum. One call for the whole batch, on the CPU, one thread, with prices in float64. `numba` compiles the
    engine at the first call on a machine, which takes seconds, and keeps it in a cache.

    Args:
        engine: `numba`, our own, which the extra `fast` brings; `lapx`; or `auto`, numba where it is installed, else
            lapx. `benchmarks/` has both.

    Raises:
        ImportError: The engine is missing, or the older package `lap`, which has the import name of lapx, hides it.

    Example:
        >>> import torch
        >>> from graphalign import Lap, NodeEdge, Problem
        >>> Lap()(Problem(NodeEdge(torch.tensor([[0.9, 0.1, 0.8], [0.8, 0.2, 0.1]])))).matching
        tensor([[0., 0., 1.],
                [1., 0., 0.]])

    References:
        Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
        Computing 1987.
    """

    engine: str = "auto"

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice(self, "engine", ("auto", "numba", "lapx"))

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; see `Problem` for the objective."""
        return settle(problem, self, lambda working: assign_columns(working, load_engine(self.engine)))


def jonker_volgenant(gains: Array, real1: Array | None, real2: Array | None) -> Found:
    """The engine of `Lap()`: from gains `(B, n, m)` to the column of each row `(B, n)`, -1 for rows without one."""
    _check_gains(gains)
    return load_engine("auto")(gains, real1, real2)


def best_columns(gains: Array) -> Array:
    """The column of each row `(n,)` in the best full matching of one problem `(n, m)`; -1 for rows without one.

    Args:
        gains: Finite, float32 or float64, contiguous.
    """
    columns: Array = jonker_volgenant(gains[None], None, None).columns[0]
    return columns


@cache
def load_engine(engine: str) -> ColumnEngine:
    """Import an engine by its name."""
    if engine == "lapx":
        return cut_out(_through_lapx(_lapx()))
    try:
        from .jonker_volgenant import solve_batch
    except ImportError as error:
        if engine == "auto":
            return load_engine("lapx")
        raise ImportError(f"Lap(engine='numba') needs the package numba: {pip_line('fast')}") from error
    return _through_numba(solve_batch)


def _through_numba(solve: Callable[..., None]) -> ColumnEngine:
    def engine(gains: Array, real1: Array | None, real2: Array | None) -> Found:
        """Match a batch `(b, n, m)`; padded nodes are masked, not cut out."""
        batch, n, m = gains.shape
        columns, bounds, totals = np.empty((batch, n), np.int64), np.empty(batch), np.empty(batch)
        if real1 is None or real2 is None:
            real1, real2 = (EVERY, EVERY) if n <= m else (np.ones((batch, n), bool), np.ones((batch, m), bool))
        solve(gains, real1, real2, columns, bounds, totals)
        return Found(columns, bounds, totals)

    return engine


def _through_lapx(lap: Any) -> Callable[[Array], Array]:
    def engine(gains: Array) -> Array:
        """Return the column of each row, `(b, n)`; problems that are solved by favourites alone skip lapx."""
        if gains.shape[1] > gains.shape[2]:
            return _inverse(engine(np.ascontiguousarray(gains.swapaxes(1, 2))), gains.shape[1])
        best, clear = (x.numpy() for x in favourites(torch.from_numpy(gains)))
        if not clear.all():
            # lapx has float64 prices at square problems, but at others works in the precision of the costs
            wide = gains.shape[1] < gains.shape[2]
            costs = np.negative(gains[~clear], dtype=np.float64 if wide else None)
            best[~clear] = np.stack(lap.lapjvr_batch(costs, extend_cost=wide, return_cost=False, n_threads=1)[1])
        return best

    return engine


def _check_gains(gains: Array) -> None:
    """Raise ValueError for gains that are not finite, on which an engine would write beyond its arrays."""
    if not np.isfinite(gains.sum()) and not np.isfinite(gains).all():
        raise ValueError("gains of a linear assignment must be finite: look for an overflow in what made them")


def _inverse(rows: Array, n: int) -> Array:
    """From the row of each column `(B, m)` to the column of each of the n rows, -1 where there is none."""
    columns = np.full((len(rows), n), -1)
    np.put_along_axis(columns, rows, np.broadcast_to(np.arange(rows.shape[1]), rows.shape), 1)
    return columns


def _lapx() -> Any:
    """Import `lap` and make sure that it is lapx."""
    try:
        import lap
    except ImportError as error:
        raise ImportError("Lap(engine='lapx') needs the package lapx: pip install lapx") from error
    if not hasattr(lap, "lapjvr_batch"):
        raise ImportError(
            f"the module `lap` at {lap.__file__} is not lapx 0.11 or newer, which the solver `lap` needs; the older "
            f"package `lap` has the same import name; run: pip uninstall lap; pip install --force-reinstall lapx"
        )
    return lap
