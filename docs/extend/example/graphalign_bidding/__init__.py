"""A solver and an estimator that graphalign finds by their entry points."""

from .antithetic import Antithetic
from .bidding import Bidding

__all__ = ["Antithetic", "Bidding"]
