"""Linear assignment by auction: the solver that stays on the device of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_count, check_positive
from ..compatibility import SolverTraits
from ..problem import NodeEdge, Problem, Solution
from .assignment import one_hot
from .certificate import favourites
from .completion import complete
from .preparation import items, settle

# Rounds between two looks at whether all is done: a look makes the caller wait for the device.
ROUNDS = 16
# Epsilon scaling: the first epsilon, as a share of the range, and how much finer the next one is each time.
FINER = 5.0
COARSEST = 0.2


@dataclass(frozen=True)
class Auction(SolverTraits):
    r"""An auction: total node score within a known distance of the highest, found on the device of the scores.

    Rows without a column bid for the one that they like best at the current prices $p$, all at once; the highest bid
    wins the column, raises its price by how much more the winner likes it than the next best plus $\epsilon$, and turns
    out the row that had it. Then every row has a column within $\epsilon$ of the best, so that the total is within
    $n \epsilon$ of the optimum. The solver begins with a coarse $\epsilon$ and keeps the prices when it refines it.

    When to use it: where scores may not leave the device, or the gap to the optimum is to be certified. Else take
    `lap`, also for scores on a GPU: it copies them to the host, and an alignment on an H200 still took a fifteenth of
    the time or less, as the rounds here are too many launches.

    Cost: some operations on the whole `(B, n, m)` scores for each round; rounds grow with the number of rows that want
    the same columns, and with $1 / \epsilon$. Problems whose rows all prefer different columns take no round.

    Args:
        tol: $\epsilon$ at the end: how far the total may be below the optimum, for each row, as a share of the range of
            the scores. Finer: closer, more rounds; below `1e-6` the rounding of float32 is coarser.
        max_iter: Most rounds of bids. A problem that is not done by then gets a feasible but worse matching, and
            `converged` is False.

    Raises:
        ValueError: `tol` is not above 0, or `max_iter` is not a whole number of at least 1.

    Example:
        >>> import torch
        >>> from graphalign import Auction, NodeEdge, Problem
        >>> solution = Auction()(Problem(NodeEdge(torch.tensor([[0.9, 0.8], [0.8, 0.0]]))))
        >>> solution.matching
        tensor([[0., 1.],
                [1., 0.]])
        >>> solution.converged
        tensor(True)

    References:
        Bertsekas, "The auction algorithm: a distributed relaxation method for the assignment problem", Annals of
        Operations Research 1988; Bertsekas and Castañon, "A forward/reverse auction algorithm for asymmetric assignment
        problems", 1992.
    """

    tol: float = 1e-4
    max_iter: int = 20_000

    def __post_init__(self) -> None:
        check_positive(self, "tol")
        check_count(self, "max_iter")

    def __call__(self, problem: Problem) -> Solution:
        """Solve every problem of the batch; see `Problem` for the objective.

        Returns:
            The matching; `residual`: how far its total is at most below the optimum, for each row of the smaller side
            and as a share of the range of the scores, by the prices as a feasible dual solution; `converged`: whether
            that is at most `tol`.
        """
        return settle(problem, self, self._solve)

    def _solve(self, problem: Problem) -> Solution:
        node = problem.scores.node
        n, m = node.shape[-2:]
        gains, rows, cols, turned = _square(problem)
        market = _Market(gains, rows, cols, self.tol)
        market.run(self.max_iter)
        gap = market.gap().reshape(problem.batch_shape)
        found = one_hot(market.pairs(), gains)
        if problem.unmatched is not None:
            found = found * (gains > 0)
        found = torch.where(turned[:, None, None], found.mT, found)[:, :n, :m].reshape(node.shape)
        matching = complete(problem, found.to(node)) if problem.forbidden is not None else found.to(node)
        return Solution(NodeEdge(matching), gap <= self.tol + 1e-6, residual=gap)


def _square(problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gains from 0 to 1, -inf at what is not allowed, `(B, N, N)`; masks; and where rows and columns changed places.

    They do where there are more rows than columns, so that every real row finds a column.
    """
    scores, rows, cols = items(problem)
    n, m = scores.shape[-2:]
    size = max(n, m)
    allowed = F.pad(problem.allowed().reshape(scores.shape), (0, size - m, 0, size - n))
    rows, cols = F.pad(rows, (0, size - n)), F.pad(cols, (0, size - m))
    if problem.unmatched is not None:
        first, second = (x.reshape(-1, x.shape[-1]).to(scores) for x in problem.alone())
        scores = scores - (first[:, :, None] + second[:, None, :])
    gains = _normalised(F.pad(scores.detach(), (0, size - m, 0, size - n)), allowed, problem.unmatched is not None)
    if problem.unmatched is not None:  # a forbidden pair may then be made in passing, as it gains nothing
        allowed = rows[:, :, None] & cols[:, None, :]
    gains = torch.where(allowed, gains, -torch.inf)
    turned = rows.sum(-1) > cols.sum(-1)
    swap = turned[:, None]
    gains = torch.where(swap[:, :, None], gains.mT, gains)
    return gains, torch.where(swap, cols, rows), torch.where(swap, rows, cols), turned


def _normalised(scores: Tensor, allowed: Tensor, partial: bool) -> Tensor:
    """Scores from 0 to 1; if partial they count from staying alone, and losses and forbidden pairs are 0."""
    if partial:
        scores = scores.where(allowed, 0.0).clamp_min(0.0)
        return scores / _positive(scores.amax((-2, -1), keepdim=True))
    # Divided before anything is subtracted, as the range of large scores may overflow.
    scores = scores / _positive(scores.abs().where(allowed, 0.0).amax((-2, -1), keepdim=True))
    low = scores.where(allowed, torch.inf).amin((-2, -1), keepdim=True)
    high = scores.where(allowed, -torch.inf).amax((-2, -1), keepdim=True)
    return (scores - low) / _positive(high - low)


def _positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1.0)


class _Market:
    """Prices and pairs of problems `(B, N, N)` that have at least as many real columns as real rows."""

    def __init__(self, gains: Tensor, rows: Tensor, cols: Tensor, tol: float) -> None:
        batch, size = rows.shape
        self.gains, self.rows, self.cols, self.tol = gains, rows, cols, tol
        self.price = gains.new_zeros(batch, size)
        best, clear = favourites(gains, rows)
        # The last place is where writes go that mean nobody.
        self.column_of = F.pad(torch.where(clear[:, None] & rows, best, -1), (0, 1), value=-1)
        self.row_of = torch.full_like(best, -1)
        # A spare column must cost nothing in the end, so where there is one prices cannot start from a coarse solution.
        spare = rows.sum(-1) < cols.sum(-1)
        self.eps = gains.new_full((batch,), max(COARSEST, tol)).masked_fill(spare, tol)
        self.live = (~clear & rows.any(-1)).nonzero()[:, 0]

    def run(self, max_iter: int) -> None:
        """Let rows bid until every problem is done at the finest epsilon, or `max_iter` rounds have passed."""
        rounds = 0
        while rounds < max_iter and len(self.live):
            most = int(self._free().sum(-1).max())
            for _ in range(min(ROUNDS, max_iter - rounds)):
                self._bid(most)
            rounds += ROUNDS
            self._refine()

    def gap(self) -> Tensor:
        """How far each problem's total is at most below its optimum, for each row, `(B,)`."""
        net = self.gains - self.price[:, None, :]
        wanted = net.amax(-1).where(self.rows, 0.0).sum(-1)
        bound = wanted + self.price.where(self.cols, 0.0).sum(-1)
        total = self.gains.gather(-1, self.pairs().clamp_min(0)[..., None])[..., 0].where(self.rows, 0.0).sum(-1)
        return ((bound - total) / self.rows.sum(-1).clamp_min(1)).clamp_min(0.0)

    def pairs(self) -> Tensor:
        """The column of each real row `(B, N)`, -1 for padding; rows without one get the open columns in order."""
        column_of = self.column_of[:, :-1]
        free = self.rows & (column_of < 0)
        taken = one_hot(column_of, self.gains).any(-2)
        row_rank, col_rank = free.long().cumsum(-1), (self.cols & ~taken).long().cumsum(-1)
        return torch.where(free, torch.searchsorted(col_rank, row_rank), column_of)

    def _free(self) -> Tensor:
        return self.rows[self.live] & (self.column_of[self.live, :-1] < 0)

    def _bid(self, most: int) -> None:
        """One round: all free rows bid at once, at most `most` of a problem."""
        live, price = self.live, self.price[self.live]
        bidding, who = self._free().to(price).topk(most)
        net = self.gains[live[:, None], who] - price[:, None, :]
        best, j = net.max(-1)
        second = net.scatter_(-1, j[..., None], -torch.inf).amax(-1)
        offer = price.gather(-1, j) + (best - second).clamp_max(2.0) + self.eps[live, None]
        offer = torch.where(bidding > 0, offer, -torch.inf)
        highest = torch.full_like(price, -torch.inf).scatter_reduce(-1, j, offer, "amax")
        nobody = price.shape[-1]
        wins = (bidding > 0) & (offer == highest.gather(-1, j))
        winner = torch.full_like(self.row_of[live], nobody).scatter_reduce(-1, j, who.where(wins, nobody), "amin")
        self._sell(winner, highest)

    def _sell(self, winner: Tensor, highest: Tensor) -> None:
        """Give every column that has a winner to that row, and turn out the row that had it."""
        live, nobody = self.live, winner.shape[-1]
        sold, loser = winner < nobody, self.row_of[live]
        column_of, column = self.column_of[live], torch.arange(nobody, device=winner.device).expand_as(winner)
        column_of.scatter_(-1, loser.where(sold & (loser >= 0), nobody), -1)
        column_of.scatter_(-1, winner, column)
        self.column_of[live] = column_of
        self.row_of[live] = winner.where(sold, loser)
        self.price[live] = highest.where(sold, self.price[live])

    def _refine(self) -> None:
        """End the problems that are done, or give them a finer epsilon and free the rows that it dissatisfies."""
        done, finest = ~self._free().any(-1), self.eps[self.live] <= self.tol
        again = self.live[done & ~finest]
        self.live = self.live[~(done & finest)]
        if len(again):
            self.eps[again] = (self.eps[again] / FINER).clamp_min(self.tol)
            net = self.gains[again] - self.price[again, None, :]
            column_of = self.column_of[again, :-1]
            own = net.gather(-1, column_of.clamp_min(0)[..., None])[..., 0]
            leaves = (own < net.amax(-1) - self.eps[again, None]) & (column_of >= 0)
            self._leave(again, leaves)

    def _leave(self, which: Tensor, leaves: Tensor) -> None:
        """Free rows of the given problems."""
        rows, size = self.column_of[which], leaves.shape[-1]
        row_of = F.pad(self.row_of[which], (0, 1))
        row_of.scatter_(-1, rows[:, :-1].where(leaves, size), -1)
        self.row_of[which] = row_of[:, :-1]
        self.column_of[which, :-1] = rows[:, :-1].masked_fill(leaves, -1)
