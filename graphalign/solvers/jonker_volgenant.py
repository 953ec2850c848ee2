"""A batched Jonker-Volgenant solver, compiled by numba at its first call. Importing this file imports numba.

All of it maximises. `price[j]` is the dual of column j; a row prefers the columns where gain minus price is largest,
and a matching is optimal if every row has a column that it prefers and no unmatched column costs anything (at square
problems every column is matched, and prices may start anywhere). Prices are float64 whatever the gains are.
"""

from __future__ import annotations

import numpy as np

from .assignment import Array
from .compiled import compiled, compiled_entry, inlined
from .lanes import LANES, larger
from .short_rows import ROUNDING, short_room, solve_short

#: Of the search for a path: distances; distance and price of the columns passed; each one's parent row; which passed.
Room = tuple[Array, Array, Array, Array, Array]
#: Of one problem: `row_of`, `price`, `free`, `top`, and of the search for a path.
Space = tuple[Array, Array, Array, Array, Room]

# Scans of the augmenting row reduction for each row that it starts with; then shortest paths are the cheaper way. Paths
# grow longer with the number of columns, so that from some on there are more scans.
SCANS, COLUMNS_FOR_A_SCAN = 3, 50
# Rows of fewer columns are scanned one number at a time, without branches: a processor foretells those of a problem
# that it has just seen, but not of the next one. Paths are short there too, so that rows bid only once before.
SHORT = 32


@compiled
def highest(gains: Array, i: int) -> float:
    """The highest gain of row i."""
    best: float = gains[i, 0]
    for j in range(gains.shape[1]):
        best = larger(gains[i, j], best)
    return best


@compiled
def where(gains: Array, i: int, wanted: float) -> int:
    """The first column of a gain that is in row i."""
    m: int = gains.shape[1]
    first = m
    for j in range(m):
        first = min(first, j if gains[i, j] == wanted else m)
    return first


@compiled
def take_favourites(gains: Array, column_of: Array, row_of: Array, free: Array, top: Array) -> int:
    """Give every row the column it likes best while that is free; if no row is left over, this is the optimum."""
    left = 0
    for j in range(gains.shape[1]):
        row_of[j] = -1
    for i in range(gains.shape[0]):
        top[i] = highest(gains, i)
        j = where(gains, i, top[i])
        if row_of[j] < 0:
            column_of[i], row_of[j] = j, i
        else:
            free[left] = i
            left += 1
    return left


@compiled
def reduce_columns(
    gains: Array, column_of: Array, row_of: Array, price: Array, free: Array, top: Array, buyer: Array
) -> int:
    """Start again with prices at which every column has a row that prefers it; square problems only.

    Gains count from each row's best one, so that rows which are high altogether do not take all columns.
    """
    n, m = gains.shape
    for j in range(m):
        price[j] = -np.inf
    for i in range(n):
        for j in range(m):
            offer, old, holder = np.float64(gains[i, j]) - top[i], price[j], buyer[j]
            price[j] = offer if offer > old else old
            buyer[j] = i if offer > old else holder
    for i in range(n):
        column_of[i] = -1
    for j in range(m):
        row_of[j] = -1
    for j in range(m):
        if column_of[buyer[j]] < 0:
            column_of[buyer[j]], row_of[j] = j, buyer[j]
    left = 0
    for i in range(n):
        if column_of[i] < 0:
            free[left] = i
            left += 1
    return left


@compiled
def augment_rows(
    gains: Array, column_of: Array, row_of: Array, price: Array, free: Array, count: int, scratch: Array
) -> int:
    """Let free rows outbid each other: a row takes its best column and raises the price to its second best.

    Returns the number of rows still free, which then lead `free`.
    """
    left, k, scans = 0, 0, max(SCANS, len(price) // COLUMNS_FOR_A_SCAN) * count
    while k < count:
        i, k = free[k], k + 1
        best, j, second = top_two(gains, price, i, scratch)
        rise = price[j] + (best - second) > price[j]
        if rise:
            price[j] += best - second
        elif row_of[j] >= 0:
            j = place_of(scratch, second)
        loser = row_of[j]
        column_of[i], row_of[j] = j, i
        if loser >= 0:
            column_of[loser] = -1
            if rise and scans > 0:
                scans, k = scans - 1, k - 1
                free[k] = loser
            else:
                free[left] = loser
                left += 1
    return left


@inlined
def top_two(gains: Array, price: Array, i: int, net: Array) -> tuple[float, int, float]:
    """The highest gain net of price in row i, its column, and the second highest; `net` keeps all the others."""
    m = gains.shape[1]
    best, first, second = -np.inf, 0, -np.inf
    if m < SHORT:
        for j in range(m):
            value = gains[i, j] - price[j]
            net[j] = value
            better = value > best
            second = larger(best if better else value, second)
            first = j if better else first
            best = value if better else best
        net[first] = -np.inf
        return best, first, second
    for j in range(m):
        value = gains[i, j] - price[j]
        net[j] = value
        best = larger(value, best)
    first = place_of(net, best)
    net[first] = -np.inf
    for j in range(m):
        second = larger(net[j], second)
    return best, first, second


@inlined
def place_of(values: Array, wanted: float) -> int:
    """The first place of a number that is there."""
    m = len(values)
    first = m
    for j in range(m):
        first = min(first, j if values[j] == wanted else m)
    return first


@compiled
def augment_path(gains: Array, column_of: Array, row_of: Array, price: Array, start: int, room: Room) -> None:
    """Matches the free row `start` along a shortest augmenting path, found by Dijkstra's algorithm on net gains.

    A column that was passed costs infinitely much until the end, so that no distance through it is ever examined.
    """
    distance, passed_distance, passed_price, parent, passed = room
    m = len(price)
    for j in range(m):
        distance[j] = np.inf
    i, base, count = start, 0.0, 0
    while True:
        nearest = relax(gains, price, distance, parent, base, i)
        j, end = nearest_columns(distance, row_of, nearest)
        if end < m:
            break
        passed[count], passed_distance[count], passed_price[count] = j, nearest, price[j]
        count += 1
        i = row_of[j]
        base = nearest + (gains[i, j] - price[j])
        price[j], distance[j] = np.inf, np.inf
    for k in range(count):
        price[passed[k]] = passed_price[k] + (nearest - passed_distance[k])
    while end >= 0:
        i = parent[end]
        row_of[end] = i
        column_of[i], end = end, column_of[i]


@inlined
def relax(gains: Array, price: Array, distance: Array, parent: Array, base: float, i: int) -> float:
    """Shorten distances by way of row i; return the smallest."""
    nearest = -np.inf
    for j in range(len(price)):
        through, old, via = base - (gains[i, j] - price[j]), distance[j], parent[j]
        shorter = through < old
        old = through if shorter else old
        distance[j] = old
        parent[j] = i if shorter else via
        nearest = larger(-old, nearest)
    return -nearest


@inlined
def nearest_columns(distance: Array, row_of: Array, nearest: float) -> tuple[int, int]:
    """The first column at the distance `nearest`, and the first of those that nobody has; m if there is none."""
    m = len(distance)
    first, end = m, m
    for j in range(m):
        here = distance[j] == nearest
        first = min(first, j if here else m)
        end = min(end, j if here & (row_of[j] < 0) else m)
    return first, end


@compiled
def solve_one(gains: Array, column_of: Array, space: Space) -> float:
    """One problem with at least as many columns as rows; returns the bound that the prices prove."""
    row_of, price, free, top, room = space
    n, m = gains.shape
    left = take_favourites(gains, column_of, row_of, free, top)
    if left == 0:
        return rounded_up(top, price[:0])
    if n == m:
        left = reduce_columns(gains, column_of, row_of, price, free, top, room[3])
    else:
        for j in range(m):
            price[j] = 0.0
    for _ in range(1 if m < SHORT else 2):
        left = augment_rows(gains, column_of, row_of, price, free, left, room[0])
    for k in range(left):
        augment_path(gains, column_of, row_of, price, free[k], room)
    net = room[0]
    for i in range(n):
        best = -np.inf
        for j in range(m):
            best = larger(gains[i, j] - price[j], best)
        net[i] = best
    return rounded_up(net[:n], price)


@compiled
def rounded_up(rows: Array, prices: Array) -> float:
    """The sum of a dual solution, with what rounding can have taken from it: by weak duality nothing is above it."""
    total, size = 0.0, 0.0
    for i in range(len(rows)):
        total += rows[i]
        size += abs(rows[i])
    for j in range(len(prices)):
        total += prices[j]
        # A price was subtracted from a gain in every row.
        size += 2 * abs(prices[j])
    return total + ROUNDING * (len(rows) + len(prices)) * size


@compiled
def workspace(gains: Array) -> Space:
    """Room for problems `(n, m)` like this one."""
    n, m = gains.shape
    room = np.empty(m), np.empty(m), np.empty(m), np.empty(m, np.int64), np.empty(m, np.int64)
    return np.empty(m, np.int64), np.empty(m), np.empty(n, np.int64), np.empty(n, gains.dtype), room


@compiled
def solve_part(gains: Array, real1: Array, real2: Array, columns: Array, numbers: Array, places: Array) -> float:
    """One problem between the real nodes only, with the smaller side as rows."""
    rows, cols = real_places(real1), real_places(real2)
    turned = len(rows) > len(cols)
    small, large = (cols, rows) if turned else (rows, cols)
    inner = np.empty((len(small), len(large)), gains.dtype)
    for i in range(len(small)):
        for j in range(len(large)):
            inner[i, j] = gains[large[j], small[i]] if turned else gains[small[i], large[j]]
    chosen, bound = np.empty(len(small), np.int64), 0.0
    if 0 < len(large) <= LANES:
        bound = solve_short(inner, chosen, numbers, places)[0]
    elif len(small) > 0:
        bound = solve_one(inner, chosen, workspace(inner))
    for i in range(len(columns)):
        columns[i] = -1
    for i in range(len(small)):
        if turned:
            columns[large[chosen[i]]] = small[i]
        else:
            columns[small[i]] = large[chosen[i]]
    return bound


@compiled
def real_places(real: Array) -> Array:
    """The places where `real` is True."""
    places, count = np.empty(len(real), np.int64), 0
    for i in range(len(real)):
        if real[i]:
            places[count] = i
            count += 1
    return places[:count]


@compiled
def everywhere(real: Array) -> bool:
    """Whether all of the mask is True."""
    for b in range(real.shape[0]):
        for i in range(real.shape[1]):
            if not real[b, i]:
                return False
    return True


@compiled
def total_gain(gains: Array, columns: Array) -> float:
    """The sum of the gains of all pairs."""
    total = 0.0
    for i in range(len(columns)):
        if columns[i] >= 0:
            total += gains[i, columns[i]]
    return total


@compiled_entry
def solve_batch(gains: Array, real1: Array, real2: Array, columns: Array, bounds: Array, totals: Array) -> None:
    """Write to `columns` `(B, n)` the column of each row in the best full matchings of real nodes, or -1.

    Args:
        gains: Finite `(B, n, m)`, float32 or float64, contiguous.
        real1: Bool `(B, n)`, which rows there are; `(0, 0)` for all, if they are not more than the columns.
        real2: Bool `(B, m)`, which columns there are, or `(0, 0)`.
        columns: Int64 `(B, n)`.
        bounds: Float64 `(B,)`, where a total that no matching exceeds is written to.
        totals: Float64 `(B,)`, where the total gain of each matching is.
    """
    if len(gains) == 0:
        return
    n, m = gains.shape[1:]
    space, (numbers, places) = workspace(gains[0]), short_room()
    whole = n <= m and everywhere(real1) and everywhere(real2)
    for b in range(len(gains)):
        if whole and m <= LANES:
            bounds[b], totals[b] = solve_short(gains[b], columns[b], numbers, places)
        elif whole:
            bounds[b] = solve_one(gains[b], columns[b], space)
            totals[b] = total_gain(gains[b], columns[b])
        else:
            bounds[b] = solve_part(gains[b], real1[b], real2[b], columns[b], numbers, places)
            totals[b] = total_gain(gains[b], columns[b])
