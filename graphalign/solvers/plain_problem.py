"""One assignment problem as the search takes it: no padding, no seeds, no more rows than columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..factors import Factors
from ..problem import NodeEdge, Problem
from .pair_scores import FactorScores, ListedScores, PairScores, TableScores
from .preparation import check_feasible, check_finite_alone, check_finite_scores, without_seeds

Array = NDArray[Any]


class PlainProblem(NamedTuple):
    """An assignment problem, and where its rows and columns come from.

    Args:
        scores: Of all pairs.
        alone: What each row gets that stays alone, float64; `-inf` where it must have a column.
        floor: The same of the columns.
        rows: Their numbers in the problem; if `turned`, of its columns.
        columns: Likewise.
        turned: Whether rows and columns have changed places.
        seeds: Fixed pairs, `(s, 2)`.
        offset: The scores of these.
    """

    scores: PairScores
    alone: Array
    floor: Array
    rows: Array
    columns: Array
    turned: bool
    seeds: Array
    offset: float

    def pairs(self, columns: Array) -> tuple[Array, Array]:
        """Return rows and columns of the problem from the column of each row here; seeds come last."""
        matched = np.flatnonzero(columns >= 0)
        first, second = self.rows[matched], self.columns[columns[matched]]
        if self.turned:
            first, second = second, first
        return np.concatenate([first, self.seeds[:, 0]]), np.concatenate([second, self.seeds[:, 1]])


def infeasible(part: PlainProblem, row: int) -> ValueError:
    """Return the error of a row of the part that can neither have a column nor stay alone."""
    what = "column" if part.turned else "row"
    return ValueError(
        f"the problem is infeasible: {what} {part.rows[row]} cannot have a partner together with the others; allow "
        f"more pairs, or let nodes stay alone (unmatched=...)"
    )


def plain_problems(problem: Problem) -> Iterator[PlainProblem]:
    """Return every problem of the batch; scores are at least float32, and finite."""
    count = problem.batch_shape.numel()
    real1, real2 = (x.reshape(count, -1).cpu().numpy() for x in (problem.real1(), problem.real2()))
    alone1, alone2 = (x.reshape(count, -1).cpu().numpy() for x in problem.alone())
    for item in range(count):
        seeds = _seeds(problem, item)
        keep1, keep2 = real1[item].copy(), real2[item].copy()
        keep1[seeds[:, 0]], keep2[seeds[:, 1]] = False, False
        rows, columns = np.flatnonzero(keep1), np.flatnonzero(keep2)
        alone = alone1[item][rows], alone2[item][columns]
        yield _plain(problem, item, rows, columns, alone, seeds)


def _plain(
    problem: Problem, item: int, rows: Array, columns: Array, alone: tuple[Array, Array], seeds: Array
) -> PlainProblem:
    offset, turned = float(_whole(problem, item).exact(seeds[:, 0], seeds[:, 1]).sum()), len(rows) > len(columns)
    scores = _part(problem, item, rows, columns, turned)
    if turned:
        rows, columns, alone = columns, rows, (alone[1], alone[0])
    first, second = alone
    if problem.unmatched is None:
        first = np.full(len(rows), -np.inf)
    return PlainProblem(scores, first.copy(), second.copy(), rows, columns, turned, seeds, offset)


def _seeds(problem: Problem, item: int) -> Array:
    if problem.seeds is None:
        return np.empty((0, 2), np.int64)
    shape = problem.seeds.shape[-2:]
    pairs: Array = problem.seeds.expand(*problem.batch_shape, *shape).reshape(-1, *shape)[item].cpu().numpy()
    return pairs[(pairs >= 0).all(1)]


def _whole(problem: Problem, item: int) -> PairScores:
    """The scores of all pairs, whether they are allowed or not."""
    scores = problem.scores
    if isinstance(scores, Factors):
        return FactorScores(scores.detach())
    if not scores.is_table:
        return listed(scores.node.detach())
    return TableScores(_item(scores.node.detach(), item))


def _part(problem: Problem, item: int, rows: Array, columns: Array, turned: bool) -> PairScores:
    scores, n, m = problem.scores, *problem.scores.frame.shape[-2:]
    forbidden = problem.forbidden
    if not scores.is_table:
        keys = None if forbidden is None else _keys(forbidden, rows, columns, turned)
        if isinstance(scores, Factors):
            return _part_of_factors(scores.detach(), rows, columns, turned, keys)
        return _part_of_list(listed(scores.node.detach()), rows, columns, turned, keys)
    table = _item(scores.node.detach(), item)
    bad = None if forbidden is None else _item(forbidden.to_dense().expand(*problem.batch_shape, n, m), item)
    if len(rows) < n or len(columns) < m:
        i, j = torch.from_numpy(rows).to(table.device), torch.from_numpy(columns).to(table.device)
        table, bad = table[i][:, j], None if bad is None else bad[i][:, j]
    if turned:
        table, bad = table.mT.contiguous(), None if bad is None else bad.mT
    return TableScores(table, bad)


def _part_of_factors(
    factors: Factors, rows: Array, columns: Array, turned: bool, forbidden: Array | None
) -> FactorScores:
    n, m = factors.frame.shape
    if len(rows) < n or len(columns) < m:
        i, j = (torch.from_numpy(x).to(factors.x.device) for x in (rows, columns))
        r, c = factors.row_terms, factors.column_terms
        factors = Factors(
            factors.x[i], factors.y[j], factors.affinity,
            row_terms=None if r is None else r[i], column_terms=None if c is None else c[j],
        )  # fmt: skip
    return FactorScores(factors.turned() if turned else factors, forbidden)


def _part_of_list(
    scores: ListedScores, rows: Array, columns: Array, turned: bool, forbidden: Array | None
) -> ListedScores:
    place = np.stack([scores.keys // scores.shape[1], scores.keys % scores.shape[1]], 1)
    keys, kept = _renumbered(place, scores.shape, rows, columns, turned)
    values = scores.values[kept]
    if forbidden is not None:
        allowed = ~np.isin(keys, forbidden)
        keys, values = keys[allowed], values[allowed]
    order = np.argsort(keys)
    shape = (len(columns), len(rows)) if turned else (len(rows), len(columns))
    return ListedScores(shape, keys[order], values[order])


def listed(scores: Tensor) -> ListedScores:
    """Return the pairs of a sparse tensor with their scores; one of -inf is left out.

    Raises:
        ValueError: A score is NaN or infinitely high.
    """
    pairs = _coalesced(scores)
    values, m = pairs.values().double().numpy(), scores.shape[1]
    if not (values < np.inf).all():
        raise ValueError(f"{int((~(values < np.inf)).sum())} of the listed scores are NaN or infinite")
    keys, kept = pairs.indices()[0].numpy() * m + pairs.indices()[1].numpy(), values > -np.inf
    return ListedScores((scores.shape[0], m), keys[kept], values[kept])


def _coalesced(x: Tensor) -> Tensor:
    """In the coordinate format, on the CPU."""
    pairs: Tensor = x.to_sparse_coo().coalesce().cpu()  # type: ignore[no-untyped-call]
    return pairs


def _keys(forbidden: Tensor, rows: Array, columns: Array, turned: bool) -> Array:
    """The sorted numbers of forbidden pairs among the rows and columns that are left."""
    pairs = _coalesced(forbidden)
    place = pairs.indices().mT[pairs.values()].numpy()
    keys, _ = _renumbered(place, tuple(forbidden.shape), rows, columns, turned)
    return np.sort(keys)


def _renumbered(pairs: Array, shape: Any, rows: Array, columns: Array, turned: bool) -> tuple[Array, Array]:
    """The numbers of pairs among the rows and columns that are left, and which pairs these are."""
    new = [np.full(size, -1) for size in shape]
    new[0][rows], new[1][columns] = np.arange(len(rows)), np.arange(len(columns))
    i, j = new[0][pairs[:, 0]], new[1][pairs[:, 1]]
    kept = (i >= 0) & (j >= 0)
    i, j = i[kept], j[kept]
    return (j * len(rows) + i if turned else i * len(columns) + j), kept


def _item(x: Tensor, item: int) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])[item]


def checked(problem: Problem, name: str) -> Problem:
    """Return the problem in at least float32, with zeros where a table is never read.

    Raises:
        ValueError: A score, or a feature, is not finite.
    """
    check_finite_alone(name, problem)
    scores = problem.scores
    precision = torch.promote_types(scores.frame.dtype, torch.float32)
    if isinstance(scores, Factors):
        for part in ("x", "y", "row_terms", "column_terms"):
            x = getattr(scores, part)
            if x is not None and not bool(x.isfinite().all()):
                raise ValueError(f"{name} got features or terms that are not finite, in `{part}` of Factors")
        return replace(problem, scores=scores.to(precision))
    if not scores.is_table:
        return problem
    working = replace(problem, scores=NodeEdge(scores.node.to(precision))).masked()
    check_finite_scores(name, working.scores)
    if working.forbidden is not None and working.unmatched is None:
        check_feasible(name, working if working.seeds is None else without_seeds(working))
    return working
