"""Linear assignment by an auction."""

from dataclasses import dataclass

import numpy as np

from graphalign import NodeEdge, Problem, Solution, SolverTraits, assign, settle


@dataclass(frozen=True)
class Bidding(SolverTraits):
    """An auction: a matching at most n * eps of the scores' range below the best."""

    eps: float = 1e-4

    def __call__(self, problem: Problem) -> Solution:
        return settle(problem, self, lambda working: Solution(NodeEdge(assign(working, self.sell_all))))

    def sell_all(self, gains: np.ndarray) -> np.ndarray:
        """Gains (B, n, m) to matchings; the smaller side bids."""
        if gains.shape[1] > gains.shape[2]:
            return self.sell_all(gains.swapaxes(1, 2)).swapaxes(1, 2)
        return np.stack([self.sell(gain) for gain in gains])

    def sell(self, gain: np.ndarray) -> np.ndarray:
        """Gains (n, m), n <= m, to a matching with n pairs."""
        prices, owner = np.zeros(gain.shape[1]), {}
        least = self.eps * (np.ptp(gain) or 1.0)  # relative, so that a factor on all scores changes nothing
        waiting = list(range(len(gain)))
        while waiting:
            bidder = waiting.pop()
            values = gain[bidder] - prices
            best = int(values.argmax())
            others = np.delete(values, best)
            second = others.max() if len(others) else values[best]
            prices[best] += values[best] - second + least
            if best in owner:
                waiting.append(owner[best])
            owner[best] = bidder
        matched = np.zeros_like(gain)
        matched[list(owner.values()), list(owner)] = 1
        return matched
