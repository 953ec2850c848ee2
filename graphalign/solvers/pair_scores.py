"""Scores by blocks and by pairs, each with a bound on what rounding did to them.

A block serves to find candidates and may be computed in single precision. Scores of single pairs are computed in double
precision. For both it is known how far they may be from the score itself, a real number; that makes a bound rigorous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..affinity import Cosine, Gaussian
from ..factors import Factors

Array = NDArray[Any]
# Unit roundoff of what the blocks are computed in, by the setting of torch.set_float32_matmul_precision.
SINGLE = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
DOUBLE = 2.0**-53
# Pairs whose scores are computed at once, in numbers.
AT_ONCE = 2**22


class PairScores(Protocol):
    """Scores of n rows and m columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the blocks."""

    @property
    def device(self) -> torch.device:
        """Of the blocks."""

    def block(self, rows: Tensor, first: int, end: int) -> Tensor:
        """Return the scores of some rows and of the columns from `first` to `end`; `-inf` where not allowed."""

    def exact(self, rows: Array, columns: Array) -> Array:
        """Return the scores of single pairs in float64."""

    def rounding(self, rows: Array, unit: float) -> Array:
        """Return how far scores of these rows may be off that are computed with a unit roundoff."""

    def ceiling(self) -> Array:
        """Return a number that no score of each row exceeds in size, in float64."""

    def in_double(self) -> PairScores:
        """Return the same scores with blocks in float64."""


def unit_of(dtype: torch.dtype) -> float:
    """Return the unit roundoff of matrix products in this dtype, as torch is set."""
    return DOUBLE if dtype == torch.float64 else SINGLE[torch.get_float32_matmul_precision()]


@dataclass(frozen=True)
class TableScores:
    """A table of scores, which are exact as they are."""

    table: Tensor
    forbidden: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.table.shape[0], self.table.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    @property
    def device(self) -> torch.device:
        return self.table.device

    def block(self, rows: Tensor, first: int, end: int) -> Tensor:
        part = self.table[rows, first:end]
        return part if self.forbidden is None else part.masked_fill(self.forbidden[rows, first:end], -torch.inf)

    def exact(self, rows: Array, columns: Array) -> Array:
        places = (torch.from_numpy(x).to(self.device) for x in (rows.astype(np.int64), columns.astype(np.int64)))
        i, j = places
        found = self.table[i, j].double()
        if self.forbidden is not None:
            found = found.masked_fill(self.forbidden[i, j], -torch.inf)
        out: Array = found.cpu().numpy()
        return out

    def rounding(self, rows: Array, unit: float) -> Array:
        return np.zeros(len(rows))

    def ceiling(self) -> Array:
        top: Array = self.table.abs().amax(1).double().cpu().numpy()
        return top

    def in_double(self) -> TableScores:
        return replace(self, table=self.table.double())


@dataclass(frozen=True)
class ListedScores:
    """Scores of some pairs, by their sorted numbers `row * m + column`; no other pair is allowed."""

    shape: tuple[int, int]
    keys: Array
    values: Array

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def block(self, rows: Tensor, first: int, end: int) -> Tensor:
        columns = torch.arange(first, end)
        grid = torch.cartesian_prod(rows, columns).numpy()
        return torch.from_numpy(self.exact(grid[:, 0], grid[:, 1])).reshape(len(rows), end - first)

    def exact(self, rows: Array, columns: Array) -> Array:
        keys = rows.astype(np.int64) * self.shape[1] + columns
        place = np.searchsorted(self.keys, keys).clip(max=max(len(self.keys) - 1, 0))
        found: Array = np.where(contains(self.keys, keys), self.values[place] if len(self.keys) else 0.0, -np.inf)
        return found

    def rounding(self, rows: Array, unit: float) -> Array:
        return np.zeros(len(rows))

    def ceiling(self) -> Array:
        top = np.zeros(self.shape[0])
        np.maximum.at(top, self.keys // self.shape[1], np.abs(self.values))
        return top

    def in_double(self) -> ListedScores:
        return self


@dataclass(frozen=True)
class FactorScores:
    """Scores of `Factors`; `forbidden` holds the numbers `row * m + column` of pairs, sorted."""

    factors: Factors
    forbidden: Array | None = None
    wide: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.factors.x), len(self.factors.y)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.wide else torch.promote_types(self.factors.x.dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        return self.factors.x.device

    def block(self, rows: Tensor, first: int, end: int) -> Tensor:
        f = self.factors
        x = self._scaled(f.x[rows], self._lengths[0][rows])
        y = self._scaled(f.y[first:end], self._lengths[1][first:end])
        scores = x @ y.mT
        if isinstance(f.affinity, Gaussian):
            squares = (0.5 * z.square().sum(1) for z in (x, y))
            scores.sub_(next(squares)[:, None]).sub_(next(squares)).clamp_max_(0.0).exp_()
        if f.row_terms is not None:
            scores.add_(f.row_terms[rows, None])
        if f.column_terms is not None:
            scores.add_(f.column_terms[first:end])
        if self.forbidden is not None:
            self._forbid(scores, rows, first, end)
        return scores

    @cached_property
    def _lengths(self) -> tuple[Tensor, Tensor]:
        """The norms of the features, float64; as in `Cosine` no vector counts as shorter than 1e-12."""
        sides = self.factors.x, self.factors.y
        first, second = (torch.linalg.vector_norm(z, dim=1, dtype=torch.float64).clamp_min(1e-12) for z in sides)
        return first, second

    def _scaled(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Features whose inner products are the scores, or, for a Gaussian, whose distances give them."""
        affinity, z = self.factors.affinity, z.to(self.dtype)
        if isinstance(affinity, Cosine):
            return z * lengths.reciprocal().to(self.dtype)[:, None]
        if isinstance(affinity, Gaussian):
            return (z - self._centre.to(self.dtype)) / affinity.sigma
        return z * self._root() if affinity.scaled else z

    def _root(self) -> float:
        """The factor of each feature in an inner product that is scaled."""
        return math.pow(self.factors.x.shape[1], -0.25)

    @cached_property
    def _centre(self) -> Tensor:
        return self.factors.y.mean(0)

    def _forbid(self, scores: Tensor, rows: Tensor, first: int, end: int) -> None:
        forbidden, keys = self.forbidden, rows.cpu().numpy() * self.shape[1]
        assert forbidden is not None
        begin, stop = (np.searchsorted(forbidden, keys + column) for column in (first, end))
        for place in np.flatnonzero(begin < stop):
            inside = forbidden[begin[place] : stop[place]] - keys[place] - first
            scores[place, torch.from_numpy(inside).to(scores.device)] = -torch.inf

    def exact(self, rows: Array, columns: Array) -> Array:
        out, step = np.empty(len(rows)), max(1, AT_ONCE // self.factors.x.shape[1])
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            i, j = (torch.from_numpy(z[part]).long().to(self.device) for z in (rows, columns))
            out[part] = self._pairs(i, j).cpu().numpy()
        if self.forbidden is not None:
            out[contains(self.forbidden, rows.astype(np.int64) * self.shape[1] + columns)] = -np.inf
        return out

    def _pairs(self, rows: Tensor, columns: Tensor) -> Tensor:
        f = self.factors
        x, y = f.x[rows].double(), f.y[columns].double()
        if isinstance(f.affinity, Gaussian):
            scores = (-0.5 * ((x - y) / f.affinity.sigma).square().sum(1)).exp()
        else:
            scores = torch.linalg.vecdot(x, y)
            if isinstance(f.affinity, Cosine):
                scores = scores / self._lengths[0][rows] / self._lengths[1][columns]
            elif f.affinity.scaled:
                scores = scores * self._root() ** 2
        if f.row_terms is not None:
            scores = scores + f.row_terms[rows]
        return scores if f.column_terms is None else scores + f.column_terms[columns]

    def rounding(self, rows: Array, unit: float) -> Array:
        r"""Return the usual bound, $(d + c) \epsilon$ times the size of the terms that are added up.

        That of a sum of d products is $d \epsilon |x| |y|$; scaling the features adds some units more. A Gaussian's
        exponent is such a sum of numbers as large as the squared distances from the centre. Products below the smallest
        normal number are off by up to that number.
        """
        d = self.factors.x.shape[1] + 8
        gaussian = isinstance(self.factors.affinity, Gaussian)
        extent = self._extent(rows) if gaussian else self._products(rows)
        size = (1.0 if gaussian else extent) + sum(
            _size(terms) for terms in (self.factors.row_terms, self.factors.column_terms)
        )
        least = torch.finfo(torch.float64 if unit == DOUBLE else torch.float32).tiny
        bound: Array = 1.01 * (unit * (d * extent + 4 * size) + d * least)
        return bound

    def _products(self, rows: Array) -> Array:
        """The largest product of norms in each row, 1 for cosines; infinite where norms overflow."""
        if isinstance(self.factors.affinity, Cosine):
            return np.full(len(rows), 1.0 if all(bool(x.isfinite().all()) for x in self._lengths) else np.inf)
        first, second = (_norms(z).cpu().numpy() for z in (self.factors.x, self.factors.y))
        with np.errstate(over="ignore"):
            products: Array = first[rows] * second.max()
        return products * self._root() ** 2 if getattr(self.factors.affinity, "scaled", False) else products

    def _extent(self, rows: Array) -> Array:
        sigma = getattr(self.factors.affinity, "sigma", 1.0)
        first, second = (
            torch.linalg.vector_norm(z - self._centre, dim=1, dtype=torch.float64).cpu().numpy()
            for z in (self.factors.x, self.factors.y)
        )
        extent: Array = 4.0 * ((first[rows] + second.max()) / sigma) ** 2
        return extent

    def ceiling(self) -> Array:
        n = self.shape[0]
        gaussian = isinstance(self.factors.affinity, Gaussian)
        top = np.ones(n) if gaussian else self._products(np.arange(n))
        return 1.000001 * (top + sum(_size(terms) for terms in (self.factors.row_terms, self.factors.column_terms)))

    def in_double(self) -> FactorScores:
        return replace(self, wide=True)


def _norms(z: Tensor) -> Tensor:
    """Norms in float64 that neither overflow nor vanish on the way."""
    top = z.abs().amax(1).double()
    scaled = z.double() / torch.where(top > 0, top, 1.0)[:, None]
    norms: Tensor = top * torch.linalg.vector_norm(scaled, dim=1)
    return norms


def contains(sorted_keys: Array, keys: Array) -> Array:
    """Return which of the keys are among the sorted ones."""
    place = np.searchsorted(sorted_keys, keys).clip(max=max(len(sorted_keys) - 1, 0))
    return sorted_keys[place] == keys if len(sorted_keys) else np.zeros(len(keys), bool)


def _size(terms: Tensor | None) -> float:
    return 0.0 if terms is None else float(terms.abs().max())
