"""Sparse assignment on lists of candidates, compiled by numba at its first call. Importing this file imports numba.

Everything is written for two sides that play symmetric parts; `Sides` says how they are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, compiled_entry
from .lanes import larger
from .sides import Sides

Array = NDArray[Any]


@compiled_entry
def keep_best(
    block: Array, rows: Array, price: Array, first: int, values: Array, columns: Array, lowest: Array
) -> None:
    """Add a block of scores less prices to each row's list of its best columns.

    Args:
        block: `(b, c)`, scores of the rows and of the columns from `first` on; `-inf` for a pair that is not allowed.
        rows: `(b,)`, their numbers.
        price: `(c,)`, in the dtype of the block.
        first: The number of the first column.
        values: `(b, k)`, the best scores less prices so far, in any order; `-inf` where there are fewer.
        columns: `(b, k)`, their columns.
        lowest: `(b,)`, the lowest of each row's values.
    """
    width = block.shape[1]
    for i in range(len(rows)):
        # Where scores are tied, rows begin at different columns, so that they do not all list the same ones.
        turn = (rows[i] * 40503) % width
        for part in range(2):
            begin, end = (turn, width) if part == 0 else (0, turn)
            while begin < end:
                stop = min(begin + 64, end)
                highest = block[i, begin] - price[begin]
                for j in range(begin, stop):
                    value = block[i, j] - price[j]
                    highest = larger(value, highest)
                if highest > lowest[i]:
                    for j in range(begin, stop):
                        if block[i, j] - price[j] > lowest[i]:
                            replace_lowest(values[i], columns[i], block[i, j] - price[j], first + j)
                            lowest[i] = values[i, 0]
                begin = stop


@compiled_entry
def hide(block: Array, rows: Array, first: int, begin: Array, columns: Array) -> None:
    """Write `-inf` over the pairs of a block that are listed already.

    Args:
        block: `(b, c)`, written.
        rows: `(b,)`, their numbers.
        first: The number of the first column.
        begin: The list of row i is `columns[begin[i]:begin[i + 1]]`.
        columns: In ascending order in each list.
    """
    for i in range(len(rows)):
        low, high = begin[rows[i]], begin[rows[i] + 1]
        low += np.searchsorted(columns[low:high], first)
        while low < high and columns[low] < first + block.shape[1]:
            block[i, columns[low] - first] = -np.inf
            low += 1


@compiled
def replace_lowest(values: Array, columns: Array, value: float, column: int) -> None:
    """Replace the lowest value, which is first, and bring the lowest of the new ones to that place."""
    size, place = len(values), 0
    while True:  # a heap
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if values[child] >= value:
            break
        values[place], columns[place] = values[child], columns[child]
        place = child
    values[place], columns[place] = value, column


@compiled_entry
def bid(sides: Sides, queue: Array, waiting: int, eps: float, limit: int) -> int:
    """Let the nodes of a queue bid until all are content up to `eps`, or `limit` bids are made.

    A node takes the candidate that it likes best at the current prices and raises its price until it likes the next
    best one, or being alone, by `eps` more; who had that candidate queues up again.

    Args:
        sides: The market; prices and pairs are written.
        queue: Of at least as many places as there are asking nodes; the first `waiting` hold those that bid.
        waiting: How many there are.
        eps: How far from content a node may be.
        limit: Most bids.

    Returns:
        The number of nodes that still wait; they lead the queue.
    """
    begin, other, w, alone, own, price, mate, mate_other = sides
    head, room = 0, len(queue)
    while waiting > 0 and limit > 0:
        a = queue[head]
        head = head + 1 if head + 1 < room else 0
        waiting, limit = waiting - 1, limit - 1
        best, second, chosen = -np.inf, -np.inf, -1
        for t in range(begin[a], begin[a + 1]):
            value = w[t] - price[other[t]]
            if value > best:
                best, second, chosen = value, best, t
            elif value > second:
                second = value
        if best <= alone[a] + eps:
            own[a], mate[a] = alone[a], -1
            continue
        own[a] = max(alone[a], second - eps)
        b = other[chosen]
        price[b] = w[chosen] - own[a]
        loser = mate_other[b]
        mate[a], mate_other[b] = b, a
        if loser >= 0:
            mate[loser] = -1
            place = head + waiting
            queue[place if place < room else place - room] = loser
            waiting += 1
    left = np.empty(waiting, np.int64)
    for k in range(waiting):
        left[k] = queue[head + k if head + k < room else head + k - room]
    queue[:waiting] = left
    return waiting


@compiled_entry
def discontent(sides: Sides, eps: float, queue: Array) -> int:
    """Write to `queue` the nodes that are not content up to `eps`, and part them from their pairs; return how many.

    `own` becomes what each node earns, or could earn if it has no pair.
    """
    begin, other, w, alone, own, price, mate, mate_other = sides
    waiting = 0
    for a in range(len(own)):
        best, held = alone[a], alone[a]
        for t in range(begin[a], begin[a + 1]):
            value = w[t] - price[other[t]]
            best = value if value > best else best
            held = value if other[t] == mate[a] else held
        own[a] = held
        if best > held + eps:
            own[a] = best
            if mate[a] >= 0:
                mate_other[mate[a]], mate[a] = -1, -1
            queue[waiting] = a
            waiting += 1
    return waiting


@compiled_entry
def settle_rows(sides: Sides, starts: Array) -> int:
    """Give each of the nodes `starts` a pair, or let it or another stay alone, along a shortest augmenting path.

    Potentials must be feasible and stay so; every node that has a pair must earn exactly what it can, and still does
    afterwards. The path is found by Dijkstra's algorithm on the slacks `own + price - w`.

    Returns:
        -1, or the first node that can neither have a pair nor stay alone: the problem is infeasible.
    """
    begin, other, w, alone, own, price, mate, mate_other = sides
    count = len(price)
    distance, parent = np.empty(count), np.empty(count, np.int64)
    seen, passed = np.full(count, -1), np.full(count, -1)
    heap_key, heap_node = np.empty(len(other) + 1), np.empty(len(other) + 1, np.int64)
    nodes, at = np.empty(len(own), np.int64), np.empty(len(own))
    for mark in range(len(starts)):
        start = starts[mark]
        if mate[start] >= 0 or own[start] <= alone[start]:
            continue
        nearest, end, last = own[start] - alone[start], -1, int(start)
        nodes[0], at[0], scanned, size = start, 0.0, 1, 0
        a, base = start, 0.0
        while True:
            for t in range(begin[a], begin[a + 1]):
                b = other[t]
                through = base + max(0.0, own[a] + price[b] - w[t])
                if passed[b] != mark and through < nearest and (seen[b] != mark or through < distance[b]):
                    seen[b], distance[b], parent[b] = mark, through, a
                    size = push(heap_key, heap_node, size, through, b)
            found = -1
            while size > 0 and found < 0:
                b = heap_node[0]
                size = pop(heap_key, heap_node, size)
                if passed[b] != mark:
                    found = b
            if found < 0 or distance[found] >= nearest:
                break
            passed[found] = mark
            base, a = distance[found], mate_other[found]
            if a < 0:
                nearest, end = base, found
                break
            nodes[scanned], at[scanned] = a, base
            scanned += 1
            if base + own[a] - alone[a] < nearest:
                nearest, last = base + own[a] - alone[a], a
        if nearest == np.inf:
            return int(start)
        for k in range(scanned):
            if k > 0:
                price[mate[nodes[k]]] += nearest - at[k]
            own[nodes[k]] -= nearest - at[k]
        join(start, end, last, parent, mate, mate_other)
    return -1


@compiled
def join(start: int, end: int, last: int, parent: Array, mate: Array, mate_other: Array) -> None:
    """Exchanges the pairs along a path: to the free node `end`, or, if that is -1, to `last`, which stays alone."""
    b = end
    if end < 0:
        b, mate[last] = mate[last], -1
        if last == start:
            return
    while True:
        a = parent[b]
        following = mate[a]
        mate[a], mate_other[b] = b, a
        if a == start:
            return
        b = following


@compiled
def push(key: Array, node: Array, size: int, value: float, what: int) -> int:
    """Put a node on the heap, which has room for it; return its new size."""
    place = size
    while place > 0:
        above = (place - 1) // 2
        if key[above] <= value:
            break
        key[place], node[place] = key[above], node[above]
        place = above
    key[place], node[place] = value, what
    return size + 1


@compiled
def pop(key: Array, node: Array, size: int) -> int:
    """Take the first node off the heap; return its new size."""
    size -= 1
    if size > 0:
        replace_lowest(key[:size], node[:size], key[size], node[size])
    return size
