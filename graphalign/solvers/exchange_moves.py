"""Exchanges of two partners in a matching of edges in factors, compiled by numba. Importing this file imports numba.

A matching of N nodes on each side is an array of columns. `h` is the derivative of the objective by the matching,
which tells in a few numbers what an exchange gains, and changes by one outer product with each that is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, compiled_entry

Array = NDArray[Any]

# Of robust tabu search: longest time that a pair is barred, and after which one that never was made is due.
LONGEST, OVERDUE = 8, 5


@compiled
def gain(a: Array, b: Array, h: Array, columns: Array, i: int, j: int) -> float:
    """What rows i and j gain by exchanging their columns."""
    p, q = columns[i], columns[j]
    total: float = h[i, q] - h[i, p] + h[j, p] - h[j, q]
    for r in range(len(a)):
        own = a[r, i, i] + a[r, j, j] - a[r, i, j] - a[r, j, i]
        total += own * (b[r, p, p] + b[r, q, q] - b[r, p, q] - b[r, q, p])
    return total


@compiled
def exchange(a: Array, at: Array, b: Array, bt: Array, h: Array, columns: Array, i: int, j: int, room: Array) -> None:
    """Exchange the columns of rows i and j, and update `h`; `at` and `bt` are empty where all are symmetric."""
    p, q = columns[i], columns[j]
    for r in range(len(a)):
        if len(at) > 0:
            add_outer(a[r, i], a[r, j], b[r, q], b[r, p], 1.0, h, room)
            add_outer(at[r, i], at[r, j], bt[r, q], bt[r, p], 1.0, h, room)
        else:
            add_outer(a[r, i], a[r, j], b[r, q], b[r, p], 2.0, h, room)
    columns[i], columns[j] = q, p


@compiled
def add_outer(x: Array, y: Array, z: Array, w: Array, times: float, h: Array, room: Array) -> None:
    """Add the outer product of x - y and z - w to h, so many times; rows of zeros are left out."""
    n = len(x)
    for k in range(n):
        room[k] = times * (z[k] - w[k])
    for k in range(n):
        weight = x[k] - y[k]
        if weight != 0:
            for c in range(n):
                h[k, c] += weight * room[c]


@compiled
def barred(forbidden: Array, columns: Array, i: int, j: int) -> bool:
    """Whether an exchange would make a forbidden pair."""
    return len(forbidden) > 0 and (forbidden[i, columns[j]] or forbidden[j, columns[i]])


@compiled_entry
def descend(
    a: Array, at: Array, b: Array, bt: Array, h: Array, columns: Array, forbidden: Array, tol: float, sweeps: int
) -> float:
    """Make every exchange that gains more than `tol`, until none does or for so many sweeps.

    Returns:
        The largest gain that an exchange still has.
    """
    n, room = len(columns), np.empty(len(columns))
    left = 0.0
    for _ in range(sweeps):
        left = 0.0
        made = False
        for i in range(n):
            for j in range(i + 1, n):
                worth = gain(a, b, h, columns, i, j)
                if worth > tol and not barred(forbidden, columns, i, j):
                    exchange(a, at, b, bt, h, columns, i, j, room)
                    made = True
                elif worth > left and worth <= tol:
                    left = worth
        if not made:
            return left
    return np.inf


@compiled_entry
def search(
    a: Array, at: Array, b: Array, bt: Array, h: Array, columns: Array, forbidden: Array, tol: float, steps: int,
    seed: int,
) -> float:  # fmt: skip
    """Robust tabu search: makes the best exchange that is not barred, also at a loss, and keeps the best matching.

    Writes the best matching met to `columns`; `h` is that of the last one. Returns what it gained.
    """
    n, room = len(columns), np.empty(len(columns))
    until, best, state = np.full((n, n), -n * n, np.int64), columns.copy(), np.uint64(seed * 2 + 1)
    worth, top = 0.0, 0.0
    for step in range(1, steps + 1):
        chosen, first, second, due = -np.inf, -1, -1, False
        for i in range(n - 1):
            for j in range(i + 1, n):
                value = gain(a, b, h, columns, i, j)
                p, q = columns[i], columns[j]
                free = until[i, q] < step or until[j, p] < step
                overdue = until[i, q] < step - OVERDUE * n * n and until[j, p] < step - OVERDUE * n * n
                better = worth + value > top + tol
                if overdue and not due and not barred(forbidden, columns, i, j):
                    chosen, first, second, due = value, i, j, True
                elif (
                    value > chosen
                    and (free or better)
                    and (overdue or not due)
                    and not barred(forbidden, columns, i, j)
                ):
                    chosen, first, second = value, i, j
        if first < 0:
            continue
        until[first, columns[first]] = step + tenure(state, n)
        state = following(state)
        until[second, columns[second]] = step + tenure(state, n)
        state = following(state)
        exchange(a, at, b, bt, h, columns, first, second, room)
        worth += chosen
        if worth > top + tol:
            top = worth
            best[:] = columns
    columns[:] = best
    return top


@compiled
def following(state: Any) -> Any:
    """The next number of a xorshift generator."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@compiled
def tenure(state: Any, n: int) -> int:
    """For how many steps a pair is barred: often few, sometimes many."""
    share = float(state >> np.uint64(11)) / 2.0**53
    return int(LONGEST * n * share * share * share)
