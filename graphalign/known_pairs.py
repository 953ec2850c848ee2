"""Two tables aligned from few known pairs: ridge regression, graph matching, and a check of the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from .aligned import Aligned, Round, doubts_about, finite_table, unit_rows
from .arguments import LARGEST, check_generator, shown
from .similarities import Similarities
from .solvers.lap import best_columns

FEW = 20  # known pairs below which every round reads the graphs
ENOUGH = 25  # known pairs from which on node scores alone suffice
FOLDS = 4
SOLVERS = ("auto", "faq", "faq_first", "lap")


def align(
    x: Any,
    y: Any,
    known: Any,
    *,
    rounds: int = 10,
    ridge: float = 0.5,
    solver: str = "auto",
    generator: Generator | None = None,
) -> Aligned:
    r"""Find which rows of two tables belong together, from a few pairs that are known.

    The rows $x_i$ and $y_j$, less their mean and of unit length, live in spaces that share no coordinate. Repeated
    `rounds` times:

    1. Fit $W = \arg\min_W \sum_{(i, j)} \lVert x_i W - y_j\rVert^2 + \lambda \lVert W\rVert^2$ on the pairs so far.
    2. Score the other rows, $S_{ij} = \cos(x_i W, y_j)$, and match them one to one:
       $\max_X \langle S, X\rangle$, or with the similarities $A$ of the rows of $x$ among each other and $B$ of those
       of $y$ (standardised cosines, known pairs fixed) $\max_X \langle S, X\rangle + 3 \langle A X B, X\rangle / n$.
    3. Keep the known pairs and the surest share of the others, which grows to all in the last round.

    When to use it: few pairs are known, the other rows have a partner, and both tables describe the same content in
    different ways, such as two encoders of the same texts. It fails where partners are missing, where the contents
    differ, and where the features are weak: look at `trusted`. From a few hundred known pairs on, ridge
    regression alone does as well.

    Cost: `rounds` assignments of $O(n^3)$ in the worst case, five times over for the check by held-out pairs. Memory
    is some copies of the $n \times m$ scores.

    Args:
        x: Float `(n, d)`: an array, a tensor or a frame.
        y: Float `(m, k)`, of any width.
        known: Pairs of row numbers `(row of x, row of y)`, counted from 0 and not labels of a frame: whole numbers
            `(p, 2)`, what yields pairs, a mapping from row to row, or a frame, of which columns called `row` and
            `column` are read. At least one.
        rounds: How often to match and fit again.
        ridge: $\lambda$, beside rows of unit length.
        solver: `lap` scores rows alone; `faq` reads the graphs in every round, `faq_first` in the first round only;
            `auto` is `faq` below 20 known pairs, `faq_first` below 25, and `lap` from there on.
        generator: Deals the known pairs into folds; a fixed order if None.

    Raises:
        TypeError: A table is not made of numbers, or `generator` is not a generator.
        ValueError: A table is not a finite matrix of two rows at least that differ, a known pair is out of range or
            given twice, `ridge` is too small for the precision of the tables, or `rounds`, `ridge` or `solver` is not
            valid.

    Example:
        >>> import torch
        >>> import graphalign as ga
        >>> g = torch.Generator().manual_seed(0)
        >>> hidden = torch.randn(60, 8, generator=g)
        >>> turn = torch.linalg.qr(torch.randn(8, 8, generator=g)).Q
        >>> shuffled = torch.randperm(60, generator=g)
        >>> known = [(int(i), int((shuffled == i).nonzero())) for i in range(12)]
        >>> found = ga.align(hidden, (hidden @ turn)[shuffled], known)
        >>> found.trusted, int((shuffled[found.cols] == found.rows).sum())
        (True, 60)

    References:
        The second order with known pairs held fixed: Fishkind et al., "Seeded graph matching", Pattern Recognition
        2019. Fitting again on mutual matches: Artetxe et al., "Learning bilingual word embeddings with (almost) no
        bilingual data", ACL 2017.
    """
    check_generator(generator)
    first, second, pairs = _checked(x, y, known, rounds, ridge, solver)
    sides = unit_rows(first - first.mean(0)), unit_rows(second - second.mean(0))
    for name, table, side in zip("xy", (first, second), sides, strict=True):
        if bool((table == table[0]).all()) or not bool((side.norm(dim=-1) > 0.5).any()):
            raise ValueError(
                f"align: the rows of {name} are all equal, or so small or large that their lengths leave the range of "
                f"{str(side.dtype).removeprefix('torch.')}: look at the table, or scale it"
            )
    run = partial(_rounds, *sides, rounds=rounds, ridge=ridge, solver=solver)
    held_out = _found_again(run, pairs, generator)
    cols, weight, curve = run(pairs)
    rows = (cols >= 0).nonzero().flatten()
    given = torch.zeros(len(first), dtype=torch.bool).index_fill_(0, pairs[:, 0], True)[rows]
    cols = cols[rows]
    confidence = (unit_rows(sides[0][rows] @ weight) * sides[1][cols]).sum(-1)
    ranks = _reciprocal_ranks(*sides, torch.stack([rows, cols], 1), ridge)
    reproduced, reproduced_known = None if given.all() else float(ranks[~given].mean()), float(ranks[given].mean())
    doubts = doubts_about(held_out, len(pairs), reproduced, reproduced_known)
    return Aligned(
        rows=rows, cols=cols, known=given, confidence=confidence,
        held_out=held_out, reproduced=reproduced, reproduced_known=reproduced_known,
        trusted=not doubts, doubts=doubts,
        curve=curve, mean1=first.mean(0), mean2=second.mean(0), weight=weight,
    )  # fmt: skip


def align_to_reference(
    tables: Mapping[str, Any], reference: str, known: Mapping[str, Any], **settings: Any
) -> dict[str, Aligned]:
    """Align several tables to one of them, each by itself.

    Args:
        tables: Name to table.
        reference: The name of the table that the others are mapped to.
        known: Name to known pairs `(row of the table, row of the reference)`, for every table but the reference.
        settings: As in `align`.

    Returns:
        Name to what was found. Rows of two tables belong together that belong to one row of the reference.

    Raises:
        TypeError: `tables` or `known` has no names.
        ValueError: The reference is not a table, or a table has no known pairs; and as `align` does, with the name of
            the table.

    Example:
        >>> import torch
        >>> import graphalign as ga
        >>> x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
        >>> same = [(i, i) for i in range(12)]
        >>> found = ga.align_to_reference({"a": x, "b": 2 * x, "c": -x}, "a", {"b": same, "c": same})
        >>> {name: found[name].trusted for name in found}
        {'b': True, 'c': True}
    """
    if not isinstance(tables, Mapping) or not isinstance(known, Mapping):
        raise TypeError("align_to_reference: tables and known pairs are mappings from a name, such as {'a': x, 'b': y}")
    others = [name for name in tables if name != reference]
    if reference not in tables or set(known) != set(others):
        raise ValueError(
            f"align_to_reference: needed tables with the reference {reference!r} and known pairs for each of the "
            f"others; got tables {list(tables)} and known pairs for {list(known)}"
        )
    return {name: _aligned_by_name(name, tables[name], tables[reference], known[name], settings) for name in others}


def _aligned_by_name(name: str, x: Any, y: Any, known: Any, settings: Mapping[str, Any]) -> Aligned:
    """What `align` returns, or its error with the name of the table."""
    try:
        return align(x, y, known, **settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"align_to_reference: x is the table {name!r}, y is the reference. {error}") from None


# --- input ----------------------------------------------------------------------------------------------------------


def _checked(x: Any, y: Any, known: Any, rounds: int, ridge: float, solver: str) -> tuple[Tensor, Tensor, Tensor]:
    """Both tables in one precision, and the known pairs, long `(p, 2)`."""
    first, second = finite_table(x, "x", least=2), finite_table(y, "y", least=2)
    if (
        not _is(Integral, rounds)
        or rounds < 1
        or not _is(Real, ridge)
        or not 0 < ridge <= LARGEST
        or solver not in SOLVERS
    ):
        raise ValueError(
            f"align: needed whole rounds of at least 1, a finite ridge above 0 and a solver of {', '.join(SOLVERS)}; "
            f"got rounds={shown(rounds)}, ridge={shown(ridge)}, solver={shown(solver)}"
        )
    pairs = _pairs(known)
    for side, (table, name) in enumerate(((first, "x"), (second, "y"))):
        numbers = pairs[:, side]
        outside = (numbers < 0) | (numbers >= len(table))
        if outside.any():
            raise ValueError(
                f"align: known pair {int(outside.nonzero()[0])} names row {int(numbers[outside][0])} of {name}, which "
                f"has rows 0 to {len(table) - 1}"
            )
        values, counts = torch.unique(numbers, return_counts=True)
        if counts.max() > 1:
            raise ValueError(f"align: row {int(values[counts > 1][0])} of {name} is in two known pairs")
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype), pairs


def _pairs(known: Any) -> Tensor:
    """Known pairs as long `(p, 2)`: of an array, a tensor, a frame, a mapping, or what yields pairs."""
    given = known
    if isinstance(known, Tensor):
        known = known.detach().cpu().numpy()
    elif {"row", "column"} <= set(getattr(known, "columns", ())):
        known = known[["row", "column"]]  # whatever their order, and without what else a file of pairs holds
    elif isinstance(known, Iterable) and not hasattr(known, "__array__"):
        known = list(known.items() if isinstance(known, Mapping) else known)
    try:
        pairs = np.asarray(known)
    except ValueError:  # rows of different lengths
        pairs = np.empty(0, dtype=object)
    if pairs.dtype == object and all(_is(Integral, number) for number in pairs.flat):  # pandas' Int64
        pairs = np.array(pairs.tolist())
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        got = " ".join(shown(given).split())
        raise ValueError(f"align: known must hold pairs (row, column) of whole numbers, one at least; got {got:.120}")
    if pairs.dtype == np.uint64:
        pairs = np.minimum(pairs, np.uint64(2**63 - 1))  # out of range all the same, where int64 would wrap around
    return torch.from_numpy(pairs.astype(np.int64))


def _is(kind: type, number: Any) -> bool:
    """Whether it is a number of this kind, numpy's included; True and False are none."""
    return isinstance(number, kind) and not isinstance(number, bool)


# --- the rounds -----------------------------------------------------------------------------------------------------


def _rounds(
    x: Tensor, y: Tensor, pairs: Tensor, *, rounds: int, ridge: float, solver: str
) -> tuple[Tensor, Tensor, tuple[Round, ...]]:
    """The column of each row, -1 for none, the map, and its rounds, from centred unit rows."""
    rows, cols = _others(len(x), pairs[:, 0]), _others(len(y), pairs[:, 1])
    left, right = x[pairs[:, 0]], y[pairs[:, 1]]
    weight = _ridge(left, right, ridge)
    columns = torch.full((len(x),), -1).index_copy_(0, pairs[:, 0], pairs[:, 1])
    if not len(rows) or not len(cols):
        return columns, weight, ()
    graphs, before, curve = Similarities(x, y, pairs, rows, cols), torch.full((len(rows),), -2), []
    for number in range(rounds):
        scores = unit_rows(x[rows] @ weight) @ y[cols].T
        second = _reads_graphs(solver, len(pairs), number)
        found = torch.from_numpy(graphs.match(scores) if second else best_columns(scores.numpy()))
        chosen = (found >= 0).nonzero().flatten()
        confidence = scores[chosen, found[chosen]]
        surest = confidence.argsort(descending=True, stable=True)[: max(1, len(chosen) * (number + 1) // rounds)]
        kept = chosen[surest]
        curve.append(Round(len(kept), float(confidence.mean()), float((found != before).float().mean())))
        before = found
        weight = _ridge(torch.cat([left, x[rows[kept]]]), torch.cat([right, y[cols[found[kept]]]]), ridge)
    return columns.index_copy_(0, rows[chosen], cols[found[chosen]]), weight, tuple(curve)


def _reads_graphs(solver: str, known: int, number: int) -> bool:
    """Whether the round `number` matches with the graphs."""
    if solver == "auto":
        solver = "faq" if known < FEW else "faq_first" if known < ENOUGH else "lap"
    return solver == "faq" or (solver == "faq_first" and number == 0)


def _others(count: int, taken: Tensor) -> Tensor:
    return torch.ones(count, dtype=torch.bool).index_fill_(0, taken, False).nonzero().flatten()


def _ridge(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    r"""$\arg\min_W \lVert x W - y\rVert^2 + \lambda \lVert W\rVert^2$, in the smaller of its two forms."""
    wide = len(x) < x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    solved, singular = torch.linalg.solve_ex(gram + ridge * torch.eye(len(gram)).to(x), y if wide else x.T @ y)
    if singular:  # rows that depend on each other, such as equal ones
        kind = str(x.dtype).removeprefix("torch.")
        raise ValueError(f"align: ridge={ridge:g} is too small for rows of unit length in {kind}; give 0.5")
    mapping: Tensor = x.T @ solved if wide else solved
    return mapping


def _found_again(run: Any, pairs: Tensor, generator: Generator | None) -> float | None:
    """The share of known pairs that are found while they are hidden, each in one of the folds."""
    if len(pairs) < 2:
        return None
    order = torch.randperm(len(pairs), generator=generator or Generator().manual_seed(0))
    right = 0
    for fold in order.chunk(min(FOLDS, len(pairs))):
        rest = pairs[_others(len(pairs), fold)]
        columns = run(rest)[0]
        right += int((columns[pairs[fold, 0]] == pairs[fold, 1]).sum())
    return right / len(pairs)


def _reciprocal_ranks(x: Tensor, y: Tensor, pairs: Tensor, ridge: float) -> Tensor:
    """One over the rank of each pair's partner among all rows of `y`, under a map fitted to the other folds, `(p,)`."""
    found = torch.zeros(len(pairs))
    order = torch.randperm(len(pairs), generator=Generator().manual_seed(0))
    for fold in order.chunk(FOLDS):
        rest = pairs[_others(len(pairs), fold)]
        weight = _ridge(x[rest[:, 0]], y[rest[:, 1]], ridge)
        scores = unit_rows(x[pairs[fold, 0]] @ weight) @ y.T
        own = scores.gather(1, pairs[fold, 1:])
        found[fold] = 2 / (1 + (scores > own).sum(1) + (scores >= own).sum(1))  # equal ones share their ranks
    return found
