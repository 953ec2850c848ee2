"""Linear assignment at scale, by candidates and column generation, with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import check_count, check_flag, check_not_negative
from ..compatibility import SolverTraits, solvers_with
from ..problem import NodeEdge, Problem, Solution
from .column_generation import ROUNDING, Found, Report, Search
from .market import Infeasible
from .plain_problem import PlainProblem, checked, infeasible, plain_problems
from .preparation import check_problem

Array = NDArray[Any]
# Scans in one search: far more than any problem took.
ROUNDS = 500


class Progress(NamedTuple):
    """How far a search is.

    Args:
        what: The last thing done: `scanned` (rows) or `matched` (rounds).
        done: How much of it.
        total: Of how much.
        rows: Rows of the pairs of the best matching so far, int64.
        columns: Their columns.
        objective: Its total; `-inf` where there is no matching yet.
        bound: Upper bound on the objective of any matching.
    """

    what: str
    done: int
    total: int
    rows: Array
    columns: Array
    objective: float
    bound: float

    @property
    def gap(self) -> float:
        """As `Solution.gap`; infinite without a matching."""
        size = max(abs(self.bound), abs(self.objective))
        return (self.bound - self.objective) / size if 0 < size < np.inf else (0.0 if size == 0 else np.inf)


@dataclass(frozen=True)
class Sparse(SolverTraits):
    r"""The matching of highest total node score among very many nodes, with a proof of how good it is.

    $$\max_X \langle S, X\rangle \;\le\; \sum_i \max_j (S_{ij} - p_j) + \sum_j p_j
      \qquad \text{for all } p \text{ (zero or more where columns may stay alone)}$$

    Scores need not be written out: with `Factors` memory grows with the number of nodes. A scan of all pairs, block by
    block, lists the `k` best columns of each row at current prices, and bounds what all others are worth. An auction
    with shrinking steps and then shortest augmenting paths solve the problem of the lists, in which a row may also take
    that bound. Rows that do are scanned again at the new prices, until the dual bound above, over *all* pairs, proves
    the gap. Scores in a sparse tensor list all pairs that are allowed: they are matched exactly, or found infeasible.

    The bound is rigorous. Values computed in single precision by a scan count with the largest error that rounding can
    make; listed pairs are computed in double precision and count with theirs; the sum is rounded up. So rounding can
    only loosen the bound.

    When to use it: where the table of scores does not fit, or above some thousands of nodes. Below `lap` is as fast.

    Cost: one scan takes $2 n m d$ operations; usually one to three are needed. Memory for `k` candidates a row.
    Scans are torch and run on the device of the features. The market on the lists is one step after another and runs on
    the CPU: compiled by numba (the extra `fast`) at the first call on a machine, which takes a few seconds, and kept in
    a cache; or else in whole arrays of numpy, which takes ten times as long. It has no engine in torch.

    Args:
        k: Candidates of each row in the first scan.
        gap: Stop where bound less objective is at most this share of the objective (of how far the objective is above
            that of usual pairs, if that is less). With 0 it stops at the optimum, up to rounding.
        distributed: Whether the processes of `torch.distributed` share each scan. All must call with the same problem;
            all get the same solution, which is that of one process.
        progress: Called with a `Progress` after every block of rows and every round. Its exceptions end the search.

    Raises:
        ValueError: `k` is not a whole number of at least 1, `gap` is negative, or the problem is infeasible.

    Example:
        >>> import torch
        >>> from graphalign import Factors, Problem, Sparse
        >>> x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
        >>> solution = Sparse(gap=1e-6)(Problem(Factors(x, x.flip(0))))
        >>> rows, columns = solution.pairs()
        >>> bool((rows + columns == 299).all()), bool(solution.gap <= 1e-6)
        (True, True)

    References:
        Bertsekas, "The auction algorithm: a distributed relaxation method for the assignment problem", Annals of
        Operations Research 1988; Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse
        linear assignment problems", Computing 1987; Volgenant, "Linear and semi-assignment problems: a core oriented
        approach", Computers and Operations Research 1996.
    """

    k: int = 16
    gap: float = 1e-4
    distributed: bool = False
    progress: Callable[[Progress], None] | None = field(default=None, repr=False, compare=False)

    takes_init: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count(self, "k")
        check_not_negative(self, "gap")
        check_flag(self, "distributed")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch, one after the other.

        Returns:
            The matching, of a table of scores as a table, else as a sparse tensor `(n, m)`; `objective` and `bound`, in
            float64; `converged`: whether the gap is reached, with a gap of 0 up to what rounding of the scores adds to
            the bound (at most a millionth of it); `state`: the prices of rows and columns, one of them in use, which
            `Problem.init` takes as a warm start.
        """
        check_problem(problem, "Sparse()")
        if problem.scores.has_edges:
            raise ValueError(
                f"Sparse is a first-order solver and cannot use edge scores: use a second-order solver "
                f"({', '.join(solvers_with(order=2))}) or drop the edge scores, Problem(NodeEdge(scores.node))"
            )
        device = problem.scores.frame.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False), np.errstate(over="ignore"):
            working = checked(problem, "Sparse")
            parts = list(plain_problems(working))
            starts = _starts(problem, len(parts))
            found = [self._solve(part, start) for part, start in zip(parts, starts, strict=True)]
        return _solution(problem, parts, found, self.gap)

    def _solve(self, part: PlainProblem, start: tuple[Array, Array] | None) -> Found:
        if not len(part.rows):
            total = float(part.floor.sum()) + part.offset
            return Found(np.empty(0, np.int64), total, total, part.floor)
        price = None if start is None else start[0 if part.turned else 1][part.columns]
        search = Search(
            part.scores, part.alone, part.floor, k=self.k, gap=self.gap, price=price, offset=part.offset,
            report=self._report(part), look=_shared_scan if self.distributed else None,
        )  # fmt: skip
        try:
            return search.run(ROUNDS)
        except Infeasible as error:
            raise infeasible(part, error.row) from None

    def _report(self, part: PlainProblem) -> Report | None:
        progress = self.progress
        if progress is None:
            return None

        def report(what: str, done: int, total: int, best: Found) -> None:
            progress(Progress(what, done, total, *part.pairs(best.columns), best.objective, best.bound))

        return report


def _starts(problem: Problem, count: int) -> list[tuple[Array, Array] | None]:
    if problem.init is None:
        return [None] * count
    frame, sizes = problem.scores.frame, problem.scores.frame.shape
    for side, price in enumerate(problem.init):
        wanted = (*sizes[:-2], sizes[side - 2])
        if not isinstance(price, Tensor) or tuple(price.shape) != wanted:
            raise ValueError(f"the warm start of Sparse holds prices of rows and of columns; needed {wanted}")
    first, second = (x.reshape(count, -1).double().cpu().numpy() for x in problem.init)
    assert frame.dim() >= 2
    return list(zip(first, second, strict=True))


def _solution(problem: Problem, parts: list[PlainProblem], found: list[Found], gap: float) -> Solution:
    frame, batch = problem.scores.frame, problem.batch_shape
    device = frame.device
    objective, bound = (
        torch.tensor([getattr(x, name) for x in found], dtype=torch.float64, device=device).reshape(batch)
        for name in ("objective", "bound")
    )
    if not bool((objective.isfinite() & bound.isfinite()).all()):
        raise ValueError("Sparse: the objective overflows float64, as scores are so large: scale the scores down")
    prices = np.zeros((len(parts), frame.shape[-2])), np.zeros((len(parts), frame.shape[-1]))
    for item, (part, one) in enumerate(zip(parts, found, strict=True)):
        prices[0 if part.turned else 1][item, part.columns] = one.price
    state = tuple(torch.from_numpy(x).reshape(*batch, -1).to(device) for x in prices)
    solution = Solution(NodeEdge(_matching(problem, parts, found)), None, state, None, bound, objective)
    reached = solution.gap
    assert reached is not None
    converged = reached <= gap
    if gap <= ROUNDING:
        # The optimum itself is requested: rounding may keep the bound above it.
        doubt = torch.tensor([x.doubt for x in found], dtype=torch.float64, device=device).reshape(batch)
        converged = converged | (bound - objective <= doubt)
    return Solution(solution.value, converged, state, None, bound, objective)


def _matching(problem: Problem, parts: list[PlainProblem], found: list[Found]) -> Tensor:
    frame = problem.scores.frame
    if problem.scores.is_table:
        out = torch.zeros(len(parts), *frame.shape[-2:], dtype=frame.dtype, device=frame.device)
        for item, (part, one) in enumerate(zip(parts, found, strict=True)):
            rows, columns = (torch.from_numpy(x).to(frame.device) for x in part.pairs(one.columns))
            out[item, rows, columns] = 1
        return out.reshape(frame.shape)
    places = torch.from_numpy(np.stack(parts[0].pairs(found[0].columns))).to(frame.device)
    ones = torch.ones(places.shape[1], dtype=frame.dtype, device=frame.device)
    return torch.sparse_coo_tensor(places, ones, frame.shape, check_invariants=True).coalesce()


def _shared_scan(*arguments: Any) -> Any:
    from .shared_scan import shared_scan

    return shared_scan(*arguments)
