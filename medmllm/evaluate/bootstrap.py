"""Intervals of means by drawing people, not answers: answers about one person or image are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
RESAMPLES = 1000
BLOCK = 2**22  # entries of the resampling table held at once


def cluster_totals(names: Sequence[str], points: ArrayLike, asked: ArrayLike | None = None) -> tuple[Array, Array]:
    """Return the points and the numbers of answers of each person or image, both `(S, metrics)`.

    Args:
        names: whom or what each answer is about.
        points: `(answers, metrics)`, or `(answers,)` for a single metric; NaN where an answer has none.
        asked: what the points are divided by, of the same shape; None for 1 wherever there are points.
    """
    table = np.asarray(points, dtype=np.float64).reshape(len(names), -1)
    weights = ~np.isnan(table) if asked is None else np.asarray(asked, dtype=np.float64).reshape(table.shape)
    found, index = np.unique(np.asarray(names), return_inverse=True)
    sums, counts = np.zeros((len(found), table.shape[1])), np.zeros((len(found), table.shape[1]))
    np.add.at(sums, index, np.nan_to_num(table))
    np.add.at(counts, index, weights)
    return sums, counts


def intervals_of_means(
    names: Sequence[str],
    points: ArrayLike,
    asked: ArrayLike | None = None,
    *,
    seed: int = 0,
    level: float = 0.95,
    scale: float = 1.0,
    top: float | None = None,
) -> list[list[float]] | None:
    """Return the percentile interval of every metric, times `scale`; None where all answers are about one cluster.

    Args:
        names: whom or what each answer is about.
        points: see `cluster_totals`.
        asked: see `cluster_totals`.
        seed: see `resampled_means`.
        level: see `percentiles`.
        scale: 100 for percent.
        top: see `percentiles`.

    Example:
        >>> intervals_of_means(["ann", "ann", "ben"], [1, 0, 0.5])  # each of the two is half right
        [[0.5, 0.5]]
    """
    sums, counts = cluster_totals(names, points, asked)
    if len(sums) < 2:
        return None
    drawn = scale * resampled_means(sums, counts, seed=seed)
    return [percentiles(one, len(sums), level=level, top=top) for one in drawn.T]


def resampled_means(sums: Array, counts: Array, *, seed: int = 0) -> Array:
    r"""Means of resampled clusters, `(1000, metrics)`; NaN where a resample has no answer of a metric.

    Each resample draws $S$ of the $S$ clusters with replacement, multiplicities $w$, and gives
    $\sum_s w_s c_s / \sum_s w_s n_s$.

    Args:
        sums: `(S, metrics)` points $c_s$ of each cluster.
        counts: `(S, metrics)` answers $n_s$ behind them.
        seed: the same input and seed give the same means.
    """
    size, width = sums.shape
    generator, block = np.random.default_rng(seed), max(1, BLOCK // size)
    totals, chances = np.concatenate([sums, counts], axis=1), np.full(size, 1 / size)
    lengths = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
    drawn = np.concatenate([generator.multinomial(size, chances, size=length) @ totals for length in lengths])
    asked = drawn[:, width:]
    return np.divide(drawn[:, :width], asked, out=np.full_like(asked, np.nan), where=asked > 0)


def percentiles(means: Array, clusters: int, *, level: float = 0.95, top: float | None = 1.0) -> list[float]:
    r"""Lower and upper end that leave out equal tails of the resampled means, NaN apart.

    Where nobody is ever right, or nobody ever wrong, every resample says the same, which is not certainty. The open end
    is then the share $1 - (1 - \text{level})^{1/S}$ that $S$ clusters would miss so often: about $3/S$, by the "rule of
    three".

    Args:
        means: of resamples.
        clusters: $S$.
        level: coverage aimed at.
        top: the largest value of a mean, 1 or 100; None where it has no bounds.

    Example:
        >>> percentiles(np.zeros(1000), 60)  # 0 right of 60
        [0.0, 0.048702...]
    """
    low, high = (float(end) for end in np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2]))
    if top is not None and low == high and low in (0.0, top):
        missed = top * (1 - (1 - level) ** (1 / clusters))
        return [0.0, missed] if high == 0.0 else [top - missed, top]
    return [low, high]
