"""A solver, an estimator, a graph and a loss that graphalign finds by their entry points."""

from .antithetic import Antithetic
from .bidding import Bidding
from .hardest_negative import HardestNegative
from .mutual import Mutual

__all__ = ["Antithetic", "Bidding", "HardestNegative", "Mutual"]
