"""The Jonker-Volgenant solver for at most 16 columns, a row at a time. Importing this file imports numba.

It is the algorithm of `jonker_volgenant`, without a branch on single numbers; see there. Columns that a problem does
not have gain minus infinity and are never vacant.
"""

from __future__ import annotations

import numpy as np

from .assignment import Array
from .compiled import compiled, inlined
from .lanes import LANES, first_of, highest, highest_net, make_offers, raise_prices, relax, top_two

# Rows of `numbers`, float64: the gains, minus infinity where there is none; then the price of each column, its distance
# from the row where a path begins, and the highest gain of each row, first as it is and in the end net of prices.
PRICE, DISTANCE, BEST, NUMBERS = LANES, LANES + 1, LANES + 2, LANES + 3
# Rows of `places`, int64: the row of each column, and the row by way of which it is nearest.
ROW_OF, PARENT, PLACES = range(3)
# Relative error of one sum in float64.
ROUNDING = 2.0**-52


@compiled
def short_room() -> tuple[Array, Array]:
    """Return `numbers` and `places`, room for problems of at most 16 columns."""
    return np.empty((NUMBERS, LANES)), np.zeros((PLACES, LANES), np.int64)


@compiled
def solve_short(gains: Array, column_of: Array, numbers: Array, places: Array) -> tuple[float, float]:
    """Solve one problem of no more rows than columns; return the bound that the prices prove, and the total gain.

    Args:
        gains: Finite `(n, m)`, float32 or float64, contiguous, with n <= m <= 16.
        column_of: Int64 `(n,)`, where the column of each row is written to.
        numbers: As `short_room` gives it.
        places: As `short_room` gives it.
    """
    n, m = gains.shape
    copy(gains, numbers)
    for j in range(LANES):
        numbers[PRICE, j] = 0.0
    if not take_favourites(numbers, n, column_of):
        free, vacant = (1 << n) - 1, (1 << m) - 1
        if n == m:
            free, vacant = reduce_columns(numbers, places, n, column_of)
        free, vacant = augment_rows(numbers, places, column_of, free, vacant)
        while free:
            vacant = augment_path(numbers, places, column_of, first_of(free), vacant)
            free &= free - 1
        for i in range(n):
            numbers[BEST, i] = highest_net(numbers, i, PRICE)
    bound, size, total = 0.0, 0.0, 0.0
    for i in range(n):
        bound += numbers[BEST, i]
        size += abs(numbers[BEST, i])
        total += numbers[i, column_of[i]]
    for j in range(m):
        bound += numbers[PRICE, j]
        size += 2 * abs(numbers[PRICE, j])
    return bound + ROUNDING * (n + m) * size, total


@inlined
def copy(gains: Array, numbers: Array) -> None:
    """Copy gains, and fill up with minus infinity."""
    n, m = gains.shape
    for i in range(n):
        if m == LANES:
            for j in range(LANES):
                numbers[i, j] = gains[i, j]
        else:
            for j in range(LANES):
                numbers[i, j] = -np.inf
            for j in range(m):
                numbers[i, j] = gains[i, j]


@inlined
def take_favourites(numbers: Array, n: int, column_of: Array) -> bool:
    """Give every row the column it likes best; return whether no two like the same, which is then the optimum."""
    taken, twice = 0, 0
    for i in range(n):
        numbers[BEST, i], j = highest(numbers, i)
        column_of[i] = j
        twice |= taken & (1 << j)
        taken |= 1 << j
    return twice == 0


@inlined
def reduce_columns(numbers: Array, places: Array, n: int, column_of: Array) -> tuple[int, int]:
    """Set prices at which every column has a row that prefers it; each such row takes the first of its columns.

    Returns the sets of rows and of columns left over.
    """
    for j in range(n):
        numbers[PRICE, j] = -np.inf
    for i in range(n):
        make_offers(numbers, i, PRICE, numbers[BEST, i], places, ROW_OF)
    for j in range(n - 1, -1, -1):
        column_of[places[ROW_OF, j]] = j
    free, vacant = (1 << n) - 1, 0
    for j in range(n):
        i = places[ROW_OF, j]
        vacant |= int(column_of[i] != j) << j
        free &= ~(1 << i)
    return free, vacant


@inlined
def augment_rows(numbers: Array, places: Array, column_of: Array, free: int, vacant: int) -> tuple[int, int]:
    """Let free rows outbid each other; as many losers as there are free rows bid again.

    Returns the sets of rows and of columns still left over.
    """
    later, bids = 0, free
    while free:
        i = first_of(free)
        best, second, firsts, seconds = top_two(numbers, i, PRICE)
        j = first_of(firsts)
        raised = numbers[PRICE, j] + (best - second)
        rise = raised > numbers[PRICE, j]
        numbers[PRICE, j] = raised
        if not rise and not vacant & (1 << j):
            j = first_of(seconds & ~(1 << j))
        loser = places[ROW_OF, j]
        column_of[i], places[ROW_OF, j] = j, i
        free &= free - 1
        if vacant & (1 << j):
            vacant &= ~(1 << j)
        elif rise and bids:
            bids &= bids - 1
            free |= 1 << loser
        else:
            later |= 1 << loser
    return later, vacant


@inlined
def augment_path(numbers: Array, places: Array, column_of: Array, start: int, vacant: int) -> int:
    """Match the free row `start` along a shortest augmenting path; return the set of columns still vacant."""
    for j in range(LANES):
        numbers[DISTANCE, j] = np.inf
    i, base, passed = start, 0.0, 0
    nearest, found = relax(numbers, i, PRICE, DISTANCE, base, passed, places, PARENT)
    while not found & vacant:
        j = first_of(found)
        passed |= 1 << j
        i = places[ROW_OF, j]
        base = nearest + (numbers[i, j] - numbers[PRICE, j])
        nearest, found = relax(numbers, i, PRICE, DISTANCE, base, passed, places, PARENT)
    raise_prices(numbers, PRICE, DISTANCE, nearest, passed)
    end = first_of(found & vacant)
    vacant &= ~(1 << end)
    i = -1
    while i != start:
        i = places[PARENT, end]
        places[ROW_OF, end] = i
        column_of[i], end = end, column_of[i]
    return vacant
