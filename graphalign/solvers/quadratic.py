"""One graph matching problem on the CPU, in float64: node scores, and a quadratic part that is never written out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..edges import table_gradient
from ..problem import Problem
from .assignment import Array
from .matched_edges import MatchedEdges
from .preparation import excess, in_range, items

HUGE, DEEP = 2.0**200, 3000
LARGE = 2.0**100  # of scores, whose sums might overflow float32
SPARSE = 16  # a matrix with less than this part of its entries is kept sparse


class Edges(Protocol):
    r"""$q(X) = \sum_{ef} K_{ef} X_{s_e s_f} X_{t_e t_f}$, with edges $e = (s_e, t_e)$, $f = (s_f, t_f)$."""

    def gradient(self, x: Array) -> Array:
        r"""Return $\partial q / \partial X$ at a relaxed matching, `(n, m)`."""

    def gradient_at(self, columns: Array) -> Array:
        """Return the same where each row is matched with its column, or with none where -1."""

    def reordered(self, rows: Array, cols: Array) -> Edges:
        """Return the same edges between nodes in another order; the old ones are not to be used any more."""


@dataclass(frozen=True, eq=False)
class Table:
    """Edge scores in a table.

    Args:
        edge: $K$, `(e, f)`.
        edges1: Long `(2, e)`.
        edges2: Long `(2, f)`.
        matched: The same table by the nodes that edges meet in.
    """

    edge: Tensor
    edges1: Tensor
    edges2: Tensor
    matched: MatchedEdges

    @classmethod
    def of(cls, weights: list[Tensor], edges1: Tensor, edges2: Tensor, shape: tuple[int, int]) -> Table:
        """Sort the edges by node, once for all matchings."""
        edge = weights[0]
        return cls(edge, edges1, edges2, MatchedEdges.of(edge, edges1, edges2, shape))

    def gradient(self, x: Array) -> Array:
        """In time and memory of the table."""
        at = torch.from_numpy(x).to(self.edge.dtype)
        found: Array = table_gradient(self.edge, self.edges1, self.edges2, at).double().numpy()
        return found

    def gradient_at(self, columns: Array) -> Array:
        """From the pairs of edges alone that meet in a matched pair of nodes."""
        return self.matched.gradient(columns)

    def reordered(self, rows: Array, cols: Array) -> Table:
        """With other numbers in the edges."""
        places = (torch.from_numpy(np.argsort(order)) for order in (rows, cols))
        ends = [place[edges] for place, edges in zip(places, (self.edges1, self.edges2), strict=True)]
        return Table.of([self.edge], ends[0], ends[1], (len(rows), len(cols)))


@dataclass(frozen=True, eq=False)
class Products:
    r"""Edge scores in factors: $q(X) = \sum_r \langle A_r X B_r^\top, X\rangle$ with a matrix for each of the factors.

    Args:
        pairs: $A_r$ `(n, n)` and $B_r$ `(m, m)`, each an array, or a sparse one where few pairs are edges.
        symmetric: Whether all of them are, so that one product is enough.
    """

    pairs: tuple[tuple[Any, Any], ...]
    symmetric: bool

    @classmethod
    def of(cls, weights: list[Tensor], edges1: Tensor, edges2: Tensor, shape: tuple[int, int]) -> Products:
        """Make the matrices of weighted edges; equal edges add up."""
        first, second = (
            [_matrix(edges, column, size) for column in factor.double().numpy().T]
            for factor, edges, size in zip(weights, (edges1.numpy(), edges2.numpy()), shape, strict=True)
        )
        pairs = tuple(zip(first, second, strict=True))
        return cls(pairs, all(_is_symmetric(x) for pair in pairs for x in pair))

    def gradient(self, x: Array) -> Array:
        """In time of the edges times the nodes, or of dense products."""
        total = np.zeros_like(x)
        for a, b in self.pairs:
            total += a @ (b @ x.T).T
            if not self.symmetric:
                total += a.T @ (b.T @ x.T).T
        if self.symmetric:
            total *= 2
        return total

    def gradient_at(self, columns: Array) -> Array:
        """One product in place of two, as $X B^\\top$ only picks rows."""
        matched = columns >= 0
        total: Any = None
        for a, b in self.pairs:
            for left, right in ((a, b.T),) if self.symmetric else ((a, b.T), (a.T, b)):
                product = left[:, matched] @ right[columns[matched]] if not matched.all() else left @ right[columns]
                product = product if isinstance(product, np.ndarray) else product.toarray()
                total = product if total is None else np.add(total, product, out=total)
        if self.symmetric:
            total *= 2
        found: Array = total
        return found

    def reordered(self, rows: Array, cols: Array) -> Products:
        """With rows and columns of the matrices in another order; dense ones are reordered in place."""
        return Products(tuple((_moved(a, rows), _moved(b, cols)) for a, b in self.pairs), self.symmetric)


def _moved(matrix: Any, order: Array) -> Any:
    moved = matrix[order][:, order]
    if isinstance(matrix, np.ndarray):
        matrix[:] = moved  # a second copy of both graphs would be most of the memory
        return matrix
    return moved


def _matrix(edges: Array, weights: Array, size: int) -> Any:
    if SPARSE * len(weights) < size * size:
        from scipy.sparse import coo_array

        return coo_array((weights, (edges[0], edges[1])), shape=(size, size)).tocsr()
    dense = np.zeros((size, size))
    np.add.at(dense, (edges[0], edges[1]), weights)
    return dense


def _is_symmetric(matrix: Any) -> bool:
    if isinstance(matrix, np.ndarray):
        return bool((matrix == matrix.T).all())
    return bool((matrix != matrix.T).nnz == 0)


@dataclass(frozen=True, eq=False)
class Quadratic:
    r"""One problem $\max \langle L, X\rangle + q(X)$ of real nodes.

    Args:
        linear: $L$, `(n, m)`: node scores, which count from leaving both nodes alone if they may stay so.
        edges: $q$.
        partial: Whether nodes may stay alone.
        forbidden: Bool `(n, m)`, pairs that must not be made; None for none.
        start: A relaxed matching `(n, m)` to begin with, or None.
        constant: Part of the problem's objective that is the same for every matching.
        unit: Divisor of the scores: 1, except where they are so large or small that products of them would
            leave the range of float64.
    """

    linear: Array
    edges: Edges
    partial: bool
    forbidden: Array | None = None
    start: Array | None = None
    constant: float = 0.0
    unit: float = 1.0

    @classmethod
    def split(cls, problem: Problem) -> Iterator[tuple[Quadratic, Tensor, Tensor]]:
        """Yield the problems of a batch one by one, each with the rows and columns of its real nodes."""
        power, problem = excess(problem), in_range(problem)
        flat, batch = _Flat(problem), problem.batch_shape.numel()
        for item in range(batch):
            rows, cols = flat.real1[item].nonzero()[:, 0], flat.real2[item].nonzero()[:, 0]
            whole = len(rows) == flat.real1.shape[1] and len(cols) == flat.real2.shape[1]
            inside: Any = ... if whole else (rows[:, None], cols)
            linear = flat.gains[item][inside].numpy()
            forbidden = None if flat.forbidden is None else flat.forbidden[item][inside].numpy()
            start = None if flat.init is None else flat.init[item][inside].numpy()
            ends, weights = flat.edges_of(item, rows, cols)
            linear, weights, unit = to_scale(linear, weights)
            make = Table.of if len(weights) == 1 else Products.of
            edges = make(weights, *ends, (len(rows), len(cols)))
            forbidden = None if forbidden is None or not forbidden.any() else forbidden
            partial = problem.unmatched is not None
            kept = centred(linear, forbidden, partial)
            constant = float(flat.alone[item]) + unit * removed(linear, kept, forbidden, partial)
            constant, unit = _raised(constant, power), _raised(unit, power)
            yield cls(kept, edges, partial, forbidden, start, constant, unit), rows, cols

    def reordered(self, rows: Array, cols: Array) -> Quadratic:
        """Return the same problem with its nodes in another order; the old one is not to be used any more."""
        moved = [None if x is None else x[rows][:, cols] for x in (self.linear, self.forbidden, self.start)]
        assert moved[0] is not None
        return Quadratic(
            moved[0], self.edges.reordered(rows, cols), self.partial, moved[1], moved[2], self.constant, self.unit
        )

    def without(self, x: Array) -> Array:
        """Return a relaxed matching without its forbidden pairs."""
        return x if self.forbidden is None else np.where(self.forbidden, 0.0, x)


class _Flat:
    """A problem with the batch in one dimension, on the CPU."""

    def __init__(self, problem: Problem) -> None:
        self.scores = problem.scores.detach()
        nodes, real1, real2 = items(replace(problem, scores=self.scores))
        first, second = (x.reshape(problem.batch_shape.numel(), x.shape[-1]) for x in problem.alone())
        gains = nodes.double()
        if problem.unmatched is not None:
            gains = gains - (first[:, :, None] + second[:, None, :])
        self.gains = gains.cpu()
        self.real1, self.real2 = real1.cpu(), real2.cpu()
        self.alone = (torch.where(real1, first, 0.0).sum(-1) + torch.where(real2, second, 0.0).sum(-1)).cpu()
        self.forbidden = None if problem.forbidden is None else ~problem.allowed().reshape(nodes.shape).cpu()
        self.init = None if problem.init is None else _checked_init(problem).reshape(nodes.shape)
        batch = problem.batch_shape
        parts = (problem.edges1, problem.edges2, *self.scores.tensors()[1:])
        self.parts = [
            x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]).cpu() for x in parts if x is not None
        ]
        self.kept = [x.reshape(problem.batch_shape.numel(), x.shape[-1]).cpu() for x in problem.real_edges()]

    def edges_of(self, item: int, rows: Tensor, cols: Tensor) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """The edges of one problem between the given nodes, which are numbered from 0 on, and their scores."""
        ends1, ends2, *weights = (x[item] for x in self.parts)
        kept1, kept2 = (x[item] for x in self.kept)
        if not (kept1.all() and kept2.all()):
            ends1, ends2 = ends1[:, kept1], ends2[:, kept2]
            tabled = len(weights) == 1
            weights = [weights[0][kept1][:, kept2]] if tabled else [weights[0][kept1], weights[1][kept2]]
        ends1 = _renumbered(ends1, rows, self.real1.shape[1])
        ends2 = _renumbered(ends2, cols, self.real2.shape[1])
        return (ends1, ends2), weights


def _raised(number: float, power: int) -> float:
    """A number times a power of two; infinity, which nobody takes for a bound, where float64 does not hold it."""
    try:
        return math.ldexp(number, power)
    except OverflowError:
        return math.inf


def to_scale(linear: Array, weights: list[Tensor]) -> tuple[Array, list[Tensor], float]:
    """Return node and edge scores, and what they were divided by where sums of products of them could overflow."""
    tops = [float(x.abs().max()) if x.numel() else 0.0 for x in weights]
    if any(top > LARGE for top in tops):
        weights = [x.double() for x in weights]
    largest = max(float(np.abs(linear).max()) if linear.size else 0.0, *tops, 0.0)
    smallest = min(
        [top for top in (*tops, float(np.abs(linear).max()) if linear.size else 0.0) if top > 0], default=1.0
    )
    if largest <= HUGE and smallest >= 1 / HUGE:
        return linear, weights, 1.0
    # As exponents of two, as the product of two factors' sizes may itself be out of range.
    powers = [int(np.frexp(top)[1]) for top in tops]
    edge_power = sum(powers) if all(tops) else -DEEP
    power = max(edge_power, int(np.frexp(np.abs(linear).max())[1]) if linear.any() else -DEEP)
    scaled = [np.ldexp(x.double().numpy(), -p) for x, p in zip(weights, powers, strict=True)]
    scaled[0] = np.ldexp(scaled[0], max(edge_power - power, -DEEP))
    return np.ldexp(linear, -power), [torch.from_numpy(x) for x in scaled], float(np.ldexp(1.0, min(power, 1023)))


def centred(linear: Array, forbidden: Array | None, partial: bool) -> Array:
    """Return node scores without their constant part, so that it changes no step and no tolerance either.

    In a full matching that is a constant for each node of a side all of whose nodes are matched. It is measured at one
    pair, not by a mean, so that equal scores become zeros exactly.
    """
    if partial or not linear.any():
        return linear
    n, m = linear.shape
    if forbidden is not None:
        allowed = linear[~forbidden]
        return np.where(forbidden, 0.0, linear - (allowed[0] if len(allowed) else 0.0))
    if n <= m:
        linear = linear - linear[:, :1]
    if m <= n:
        linear = linear - linear[:1]
    return linear


def removed(linear: Array, kept: Array, forbidden: Array | None, partial: bool) -> float:
    """Return what a full matching of the scores has beyond one of the centred scores."""
    n, m = linear.shape
    if partial or kept is linear:
        return 0.0
    if forbidden is not None:
        allowed = linear[~forbidden]
        return min(n, m) * float(allowed[0]) if len(allowed) else 0.0
    # Any matching tells it, and of these the one along the diagonal.
    k = np.arange(min(n, m))
    return float((linear[k, k] - kept[k, k]).sum())


def _checked_init(problem: Problem) -> Tensor:
    init, shape = problem.init, problem.scores.node.shape
    if not isinstance(init, Tensor) or init.shape[-2:] != shape[-2:]:
        raise ValueError(f"`init` must be a matching (*batch, {shape[-2]}, {shape[-1]}), relaxed or not")
    return init.detach().double().cpu().expand(shape)


def _renumbered(edges: Tensor, kept: Tensor, size: int) -> Tensor:
    return edges if len(kept) == size else torch.full((size,), -1).index_copy(0, kept, torch.arange(len(kept)))[edges]
