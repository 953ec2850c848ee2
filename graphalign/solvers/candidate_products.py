"""Products of sparse matrices at candidates alone, compiled by numba at its first call. Importing it imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled_entry

Array = NDArray[Any]


@compiled_entry
def add_products(
    begin: Array, columns: Array, x: Array, begin1: Array, other1: Array, weight1: Array, begin2: Array, other2: Array,
    weight2: Array, out: Array,
) -> None:  # fmt: skip
    r"""Adds the entries of $A X B^\top$ at candidates to `out`, where $X$ has entries at candidates alone.

    A row takes as many steps as its neighbours have candidates, and its candidates have neighbours.

    Args:
        begin: The candidates of row i are `columns[begin[i]:begin[i + 1]]`.
        columns: Candidates.
        x: $X$ at each of them.
        begin1: Row i of $A$ has the entries `weight1[begin1[i]:begin1[i + 1]]`.
        other1: Their columns.
        weight1: Entries.
        begin2: The same of $B$.
        other2: Columns.
        weight2: Entries.
        out: A number for each candidate.
    """
    near = np.zeros(len(begin2) - 1)
    for i in range(len(begin) - 1):
        for t in range(begin1[i], begin1[i + 1]):
            for s in range(begin[other1[t]], begin[other1[t] + 1]):
                near[columns[s]] += weight1[t] * x[s]
        for p in range(begin[i], begin[i + 1]):
            total = 0.0
            for t in range(begin2[columns[p]], begin2[columns[p] + 1]):
                total += weight2[t] * near[other2[t]]
            out[p] += total
        for t in range(begin1[i], begin1[i + 1]):
            for s in range(begin[other1[t]], begin[other1[t] + 1]):
                near[columns[s]] = 0.0
