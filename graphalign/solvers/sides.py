"""The two sides of an assignment on lists of candidates."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class Sides(NamedTuple):
    """An asking side, whose nodes have lists of candidates, and the other side.

    Potentials are feasible where `own[a] + price[b] >= w` for every listed pair and `own[a] >= alone[a]`; a matching is
    optimal where pairs meet the first with equality, and nodes without a pair the second, on both sides.

    Args:
        begin: The candidates of node a are `other[begin[a]:begin[a + 1]]`.
        other: Candidates.
        w: Their scores.
        alone: What each asking node gets without a pair.
        own: What each asking node earns, its potential.
        price: What each node of the other side earns, its potential.
        mate: The pair of each asking node, or -1.
        mate_other: The same of the other side.
    """

    begin: Array
    other: Array
    w: Array
    alone: Array
    own: Array
    price: Array
    mate: Array
    mate_other: Array
